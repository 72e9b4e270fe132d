"""Real workers in processes of their own, and the ledger that judges them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers import wait_until

ROOT = Path(__file__).parent.parent


class Ledger:
    """What tasks say they did, in an SQLite file outside the system under test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE entries (key TEXT, what TEXT, pid INTEGER, at REAL)")
        connection.close()

    def count(self, what: str, key: str = "%") -> int:
        """How many entries of this kind there are."""
        return int(self._one("SELECT count(*) FROM entries WHERE what = ? AND key LIKE ?", what, key))

    def keys(self, what: str) -> set[str]:
        """The different keys with an entry of this kind."""
        return {row[0] for row in self._all("SELECT DISTINCT key FROM entries WHERE what = ?", what)}

    def entries(self, key: str) -> list[str]:
        """What was said of this key, in order."""
        return [
            str(row[0]) for row in self._all("SELECT what FROM entries WHERE key = ? ORDER BY rowid", key)
        ]

    def pid(self, key: str) -> int:
        """The process that made the latest entry of this key."""
        return int(self._one("SELECT pid FROM entries WHERE key = ? ORDER BY rowid DESC", key))

    def times(self, what: str, key: str = "%") -> list[float]:
        """When the entries of this kind were made, in order."""
        rows = self._all("SELECT at FROM entries WHERE what = ? AND key LIKE ? ORDER BY rowid", what, key)
        return [row[0] for row in rows]

    def _one(self, query: str, *arguments: str) -> object:
        return self._all(query, *arguments)[0][0]

    def _all(self, query: str, *arguments: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            return connection.execute(query, arguments).fetchall()
        finally:
            connection.close()


class WorkerProcess:
    """A `celery worker` command, as a user types it, leading a process group of its own."""

    def __init__(self, app: str, options: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        # Celery's own worker, when it is killed, leaves a folder for temporary files.
        own = {"TMPDIR": str(log.parent), "PYTHONWARNINGS": "ignore"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "info", *options],
                cwd=ROOT,
                env={**os.environ, **own, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """What it has logged so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> WorkerProcess:
        """Return once it says that it is ready."""
        wait_until(
            lambda: " ready." in self.text or self.process.poll() is not None, what=f"{self.log} ready"
        )
        assert self.process.poll() is None, self.text
        return self

    def wait_log(self, text: str) -> None:
        """Return once it has logged this."""
        wait_until(lambda: text in self.text, what=f"{text!r} in {self.log}")

    def shards(self) -> list[int]:
        """The process ids of its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL it and all its shards at once, as the death of a node."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Warm shutdown; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def worker(
    app: str, *options: str, environment: dict[str, str], log: Path, ready: bool = True
) -> Iterator[WorkerProcess]:
    """A worker for the time of the block; whatever is left of it is killed afterwards."""
    running = WorkerProcess(app, list(options), environment, log)
    try:
        yield running.wait_ready() if ready else running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.process.wait()
