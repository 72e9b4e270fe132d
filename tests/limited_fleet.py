"""Workers that run unique and limited tasks, and what a ledger says of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from celeriac import DuplicateTask, Unique
from tests.servers import wait_until
from tests.stage import Stage
from tests.workers import WorkerProcess, worker

APP = "tests.apps.limited"
CELERIAC: dict[str, str] = {}
STOCK = {"STOCK": "1"}


class Fleet:
    """A stage whose workers run the limited tasks."""

    def __init__(self, stage: Stage, **conf: Any) -> None:
        self.stage = stage
        self.ledger = stage.ledger
        self.conf = conf
        stage.app.conf.update(conf)
        self.until = stage.folder / "until"

    def worker(
        self,
        kind: dict[str, str] = CELERIAC,
        count: int = 2,
        log: str = "worker.log",
        *,
        options: Sequence[str] = (),
    ) -> AbstractContextManager[WorkerProcess]:
        environment = {
            "BROKER": self.stage.url,
            "RESULTS": self.stage.results,
            "LEDGER": str(self.ledger.path),
            "KEY_PREFIX": self.stage.prefix,
            "CONF": json.dumps(self.conf),
            "UNTIL": str(self.until),
            **kind,
        }
        return worker(APP, "-c", f"{count}", *options, environment=environment, log=self.stage.folder / log)

    def wait_over_limit(self, one: WorkerProcess, kind: dict[str, str]) -> None:
        """Return once a task has been put off because of its limit."""
        if kind is STOCK:
            one.wait_log("over its limit")
        else:
            wait_until(lambda: self.stage.broker().stats(["celery"])["celery"].delayed == 1)

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        return self.stage.app.send_task(f"{APP}.{task}", args=args, **options)

    def send_once(
        self,
        key: str,
        task: str = "once",
        until: str = "done",
        until_file: Path | None = None,
        **kwargs: Any,
    ) -> Any:
        """Publish a unique task as an app does that knows its rule; it runs until there is the file."""
        if until_file is not None:
            kwargs["until"] = str(until_file)
        rule = Unique(args=("key",), until=until, duplicate="raise")  # type: ignore[arg-type]
        return self.stage.app.send_task(f"{APP}.{task}", kwargs={"key": key, **kwargs}, unique=rule)

    def accepts(self, key: str, **options: Any) -> bool:
        """Try to publish the unique task again; return whether it is accepted."""
        try:
            self.send_once(key, **options)
        except DuplicateTask:
            return False
        return True


def most_at_once(fleet: Fleet, key: str) -> int:
    connection = sqlite3.connect(fleet.ledger.path)
    rows = connection.execute("SELECT what FROM entries WHERE key = ? ORDER BY at, rowid", (key,)).fetchall()
    connection.close()
    most = running = 0
    for (what,) in rows:
        running += 1 if what == "started" else -1
        most = max(most, running)
    assert running == 0
    return most


def most_within(times: list[float], seconds: float) -> int:
    times = sorted(times)
    return max(sum(1 for other in times if start <= other < start + seconds) for start in times)
