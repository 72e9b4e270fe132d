"""The processes of one run, each in a group of its own: Django commands, and a worker to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from celeriac.core.errors import CeleriacError
from celeriac.demo.interrupts import uninterrupted
from celeriac.demo.process_group import kill_group, wait_until_gone
from celeriac.demo.project import Site

__all__ = ["BackgroundProcess", "ProcessFailed", "Worker"]

_READY_SECONDS = 30
_STOP_SECONDS = 20
#: Seconds that killed processes may take to be gone; one that waits for a disk cannot be hurried.
_GONE_SECONDS = 10
_LOG_LINES = 15


class ProcessFailed(CeleriacError):
    """A process did not do its job; ``log`` holds the last lines it wrote."""

    def __init__(self, text: str, log: str) -> None:
        super().__init__(text)
        self.log = log


class BackgroundProcess:
    """One process, and all that it starts, at a time; what they print goes to a log in the site's folder."""

    def __init__(self, site: Site, name: str, command: Sequence[str]) -> None:
        self._site = site
        self._name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._log = site.folder / f"{name.replace(' ', '-')}.log"
        #: Where in the log the output of the present process begins.
        self._log_start = 0

    def start(self) -> None:
        """The process runs; the one before must have ended."""
        # A process that is started and not yet known here would outlive an interrupted run.
        with self._log.open("ab") as log, uninterrupted():
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the commands are this package's own
                self._command,
                cwd=self._site.folder,
                env=self._site.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._started.poll()

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        return self._started.wait()

    def kill(self) -> None:
        """The process and all that it started are gone; nothing happens if it was never started."""
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.wait()
            wait_until_gone(self._process.pid, _GONE_SECONDS)

    def pause(self) -> None:
        """It stands still until it is resumed or killed."""
        self._started.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on from where it was paused."""
        self._started.send_signal(signal.SIGCONT)

    def output(self) -> list[str]:
        """Return the lines it has written so far."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()

    def failure(self, what: str = "") -> ProcessFailed:
        """Return the error that tells what went wrong and what it wrote last."""
        what = what or f"ended with exit code {self.exit_code}"
        return ProcessFailed(f"the {self._name} {what}", "\n".join(self.output()[-_LOG_LINES:]))

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"the {self._name} was never started")
        return self._process


class Worker(BackgroundProcess):
    """The project's Celery worker, as one would start it by hand."""

    def __init__(self, site: Site, shards: int) -> None:
        command = [sys.executable, "-m", "celery", "-A", "logistics", "worker"]
        super().__init__(site, "worker", [*command, "-c", str(shards), "-l", "info"])

    def wait_until_ready(self) -> None:
        """The worker takes tasks; raises :class:`ProcessFailed` if it ends instead, or takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not any(line.endswith(" ready.") for line in self.output()):
            if self.exit_code is not None:
                raise self.failure()
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {_READY_SECONDS} s")
            time.sleep(0.05)

    def processes(self) -> frozenset[int]:
        """Return the ids of its main process and that one's children."""
        found = {self.pid}
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found.update(map(int, children.read_text().split()))
        return frozenset(found)

    def stop(self) -> bool:
        """The worker has finished what it was doing and ended; False if it had to be killed."""
        self._started.terminate()
        try:
            self._started.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill()
        return True
