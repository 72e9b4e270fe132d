"""A forked child process, and nothing more than that.

``multiprocessing`` runs, in its children, hooks that any library may have registered; kombu's close
pooled connections over sockets that the parent still uses. What a child must drop, its own start-up
drops.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable

__all__ = ["ChildProcess"]


class ChildProcess:
    """Runs ``main`` in a fork of this process, under a name that log lines show."""

    def __init__(self, name: str, main: Callable[[], None]) -> None:
        self.name = name
        sys.stdout.flush()
        sys.stderr.flush()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            multiprocessing.current_process().name = name
            os._exit(_run(main))

    @property
    def exitcode(self) -> int | None:
        """None while it runs; then its exit code, or minus the signal that killed it."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self.exitcode is None


def _run(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        # The process ends with this; the supervisor returns what it had leased.
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code
