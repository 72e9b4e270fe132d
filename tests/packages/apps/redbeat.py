"""celery-redbeat: a plan in Redis, which processes add to while beat runs."""

from __future__ import annotations

import os

from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

from tests.packages.apps import make_app, write_line

app = make_app(
    "redbeat",
    beat_scheduler="redbeat.RedBeatScheduler",
    beat_max_loop_interval=0.3,
    beat_schedule={"often": {"task": "tick", "schedule": 0.5, "args": ["often"]}},
    redbeat_redis_url=os.environ["BROKER"],
    redbeat_key_prefix=f"{os.environ['KEY_PREFIX']}redbeat:",
    redbeat_lock_timeout=2,
)


@app.task(name="tick")
def tick(key: str) -> None:
    write_line("ticks", key)


def add_entry(key: str) -> str:
    """The plan has one entry more; return the entry's key in Redis."""
    entry = RedBeatSchedulerEntry(key, "tick", schedule(0.3), args=[key], app=app)
    entry.save()
    return str(entry.key)


def remove_entry(key: str) -> None:
    """The plan has one entry less."""
    RedBeatSchedulerEntry.from_key(key, app=app).delete()
