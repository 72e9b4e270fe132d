"""Processes forked from one that has imported everything: quick to make, and really killed."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from billiard.util import set_pdeathsig

__all__ = ["Child", "Gone", "Talker"]


class Gone(Exception):
    """It has died before it answered."""


class Child:
    """One forked process; it ends with this one."""

    def __init__(self, main: Callable[[], None], log: Path, *, leads: bool = False) -> None:
        """``leads``: it leads a group of its own, so that it can be killed with all that it has forked."""
        self.leads = leads
        parent = os.getpid()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(main, log, parent, leads=leads)
        if leads:
            with suppress(PermissionError, ProcessLookupError):
                os.setpgid(self.pid, self.pid)
        self._descriptor = os.pidfd_open(self.pid)
        #: What ``os.waitpid`` says of it, once it has ended.
        self.status = 0
        self._ended = False

    @property
    def is_alive(self) -> bool:
        return not self.wait(0)

    @property
    def descriptor(self) -> int:
        """Readable once the process is dead."""
        return self._descriptor

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether it has ended, within so many seconds."""
        if not self._ended and select.select([self._descriptor], [], [], seconds)[0]:
            self.status = os.waitpid(self.pid, 0)[1]
            os.close(self._descriptor)
            self._ended = True
            if self.leads:
                self._kill_group()
        return self._ended

    def stop(self) -> None:
        """Kill it, with all that it has forked if it leads them."""
        if self.leads:
            self._kill_group()
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Talker(Child):
    """A process that answers one request after the other, each with its own line of JSON."""

    def __init__(self, answer: Callable[[Any], Any], log: Path) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()

        def main() -> None:
            with os.fdopen(requests) as lines:
                for line in lines:
                    os.write(answers, json.dumps(answer(json.loads(line))).encode() + b"\n")

        super().__init__(main, log)
        os.close(requests)
        os.close(answers)
        self._lines = os.fdopen(self._answers)
        #: Whether there is no answer yet to what it was told.
        self.busy = False

    def ask(self, request: Any) -> Any:
        """Return its answer; raise :class:`Gone` if it dies instead."""
        self.tell(request)
        return self._read()

    def tell(self, request: Any) -> None:
        """It answers sooner or later."""
        self.busy = True
        with suppress(BrokenPipeError):
            os.write(self._requests, json.dumps(request).encode() + b"\n")

    def answers(self, seconds: float) -> bool:
        """Return whether it has answered, within so many seconds; raise :class:`Gone` if it died instead."""
        if self.busy and select.select([self._answers], [], [], seconds)[0]:
            self._read()
        return not self.busy

    def _read(self) -> Any:
        line = self._lines.readline()
        if line.endswith("\n"):
            self.busy = False
            return json.loads(line)
        self.wait()
        raise Gone

    def close(self) -> None:
        self.stop()
        os.close(self._requests)
        self._lines.close()


def _become(main: Callable[[], None], log: Path, parent: int, *, leads: bool) -> None:
    """Be the child; never return."""
    code = 1
    try:
        set_pdeathsig(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if leads:
            os.setpgid(0, 0)
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
