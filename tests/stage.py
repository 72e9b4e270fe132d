"""One test's broker, ledger, producer and workers."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from celeriac import Celery
from celeriac.brokers.connect import open_broker
from celeriac.core.broker import Broker
from tests.servers import RedisServer
from tests.workers import Ledger, WorkerProcess, worker

APP = "tests.apps.ledger"


class Stage:
    """Everything lies in the test's own folder, or behind a key prefix of its own in Redis."""

    def __init__(
        self, folder: Path, redis: RedisServer | None, url: str | None = None, results: str | None = None
    ) -> None:
        """``url`` and ``results`` name the server in another way than it names itself."""
        self.folder = folder
        self.prefix = ""
        self.url = f"sqlite:///{folder}/broker.db"
        self.results = f"sqlite:///{folder}/results.db"
        if redis is not None:
            self.prefix = f"{uuid.uuid4().hex[:8]}:"
            self.url = url or redis.url
            self.results = results or f"{redis.url[:-1]}1"
        self.ledger = Ledger(folder / "ledger.db")
        self.app = Celery("producer", broker=self.url, backend=self.results)
        self.app.conf.broker_transport_options = {"global_keyprefix": self.prefix}

    def broker(self) -> Broker:
        """A broker on the same store."""
        return open_broker(self.url, {"global_keyprefix": self.prefix})

    def environment(self) -> dict[str, str]:
        """What the test app reads."""
        return {
            "BROKER": self.url,
            "RESULTS": self.results,
            "LEDGER": str(self.ledger.path),
            "KEY_PREFIX": self.prefix,
        }

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        """Publish a task of the test app; return its result object."""
        return self.app.send_task(f"{APP}.{task}", args=args, **options)

    def worker(
        self, *options: str, log: str = "worker.log", ready: bool = True, **environment: str
    ) -> AbstractContextManager[WorkerProcess]:
        """A Celeriac worker on this stage."""
        variables = {**self.environment(), **environment}
        return worker(APP, *options, environment=variables, log=self.folder / log, ready=ready)
