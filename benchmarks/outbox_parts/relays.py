"""How many messages one relay process brings to Redis in a second: ours, and django-celery-outbox's."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from outbox_parts.site import QUEUE, ROOT, Site, make_task

__all__ = ["measure_relays"]

#: It imports itself under its own name, as its relay does.
RIVAL = (str(ROOT / ".venv-outbox/bin/python"), "-c", "import rival; rival.main()")
RIVALS_PATH = str(Path(__file__).parent)
PATIENCE = 120.0


def measure_relays(site: Site, rows: int, rivals_rows: int, rounds: int) -> dict[str, list[float]]:
    """Return messages a second between the first and the last one at Redis, of each round."""
    client: Any = redis.Redis.from_url(site.url)
    client.delete(QUEUE, "rival")
    ours: list[float] = []
    theirs: list[float] = []
    _rival(site, "prepare")
    for _ in range(rounds):
        _fill(site, rows)
        with site.relay() as relay:
            ours.append(_rate(relay, site.url, QUEUE, rows))
        _rival(site, "fill", str(rivals_rows))
        with site.running(*RIVAL, "relay", PYTHONPATH=RIVALS_PATH) as relay:
            theirs.append(_rate(relay, site.url, "rival", rivals_rows))
    return {"celeriac": ours, "django-celery-outbox": theirs}


def _fill(site: Site, rows: int) -> None:
    from django.db import connection, transaction

    from celeriac import Celery

    task = make_task(Celery, site.url, QUEUE)
    task.app.framework.desk.outbox._fast_path.leave = lambda *_, **__: None
    with transaction.atomic():
        task.delay_many([(number, "x") for number in range(rows)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum does by itself within a minute


def _rate(relay: Any, url: str, queue: str, rows: int) -> float:
    """Watch the queue grow; it is seen a hundred times a second, which costs Redis next to nothing."""
    client: Any = redis.Redis.from_url(url)
    deadline = time.monotonic() + PATIENCE
    while not (first := client.llen(queue)):
        _go_on(relay, deadline)
    began = time.perf_counter()
    while (seen := client.llen(queue)) < rows:
        _go_on(relay, deadline)
    took = time.perf_counter() - began
    client.delete(queue)
    return float((seen - first) / took)


def _go_on(relay: Any, deadline: float) -> None:
    if time.monotonic() > deadline or relay.poll() is not None:
        raise TimeoutError("the relay does not get on")
    time.sleep(0.01)


def _rival(site: Site, *arguments: str) -> None:
    environment = {**site.environment, "PYTHONPATH": RIVALS_PATH}
    subprocess.run([*RIVAL, *arguments], cwd=ROOT, env=environment, check=True, timeout=PATIENCE)
