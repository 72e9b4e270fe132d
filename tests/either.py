"""The same application run by Celery's worker and by Celeriac's, which are to behave the same."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.servers import RedisServer
from tests.workers import Ledger, WorkerProcess, worker

__all__ = ["ENGINES", "Either", "start"]

#: Celery's own first: it is the one that says what is right.
ENGINES = ("celery", "celeriac")


class Either:
    """One of the two workers, with a producer, a ledger and keys of its own."""

    def __init__(self, engine: str, module: str, folder: Path, redis: RedisServer, conf: Mapping[str, Any]):
        self.engine = engine
        self.folder = folder
        self.module = module
        self.ledger = Ledger(folder / "ledger.db")
        self.environment = {
            "ENGINE": engine,
            "BROKER": redis.url,
            "RESULTS": f"{redis.url[:-1]}1",
            "KEY_PREFIX": f"{uuid.uuid4().hex[:8]}:",
            "LEDGER": str(self.ledger.path),
            "CONF": json.dumps(conf),
            "C_FORCE_ROOT": "1",  # pickle is accepted by an application for tests only
        }
        with patch.dict(os.environ, self.environment):
            spec = find_spec(module)
            assert spec is not None
            assert spec.loader is not None
            #: The application's module, loaded for this engine.
            self.tasks: Any = module_from_spec(spec)
            spec.loader.exec_module(self.tasks)
        self.app: Any = self.tasks.app
        self._process: WorkerProcess | None = None

    @property
    def process(self) -> WorkerProcess:
        assert self._process is not None, "no worker runs"
        return self._process

    @contextmanager
    def worker(self, *options: str, log: str = "worker.log", ready: bool = True) -> Iterator[WorkerProcess]:
        """The worker for the time of the block."""
        arguments = ["-n", f"{self.engine}@test", *options]
        with worker(
            self.module, *arguments, environment=self.environment, log=self.folder / log, ready=ready
        ) as self._process:
            yield self._process

    def task(self, name: str) -> Any:
        """The producer's own task object."""
        return getattr(self.tasks, name)


def start(
    engine: str, module: str, folder: Path, redis: RedisServer, conf: Mapping[str, Any] | None = None
) -> Either:
    """Return one of the two, whose worker is not yet started."""
    place = folder / engine
    place.mkdir()
    return Either(engine, module, place, redis, conf or {})
