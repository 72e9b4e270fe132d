"""Why running jobs are cut short, and killing the process of one of them, and of no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

__all__ = ["TERMINATED", "TIME_LIMIT", "Terminations", "hold_still"]

#: Why a terminated job's message leaves; nobody has to look at it as a dead letter.
TERMINATED = "it was terminated by remote control"
#: Why the message of one that ran too long leaves.
TIME_LIMIT = "it ran longer than its time limit"
#: Seconds for which a wish holds: a job that has just started says so only after a moment.
_PATIENCE = 2.0
#: Seconds to wait for a process to stop.
_STOP_WITHIN, _LOOK_EVERY = 0.05, 0.0005


class Terminations:
    """The ids of jobs that are to be killed if they are found running."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def want(self, ids: Iterable[str], now: float) -> None:
        """Look for these jobs for a moment from ``now`` (monotonic seconds)."""
        for id_ in ids:
            self._until[id_] = now + _PATIENCE

    def wanted(self, now: float) -> frozenset[str]:
        """Return the ids to look for at ``now``."""
        if self._until:
            self._until = {id_: until for id_, until in self._until.items() if until > now}
        return frozenset(self._until)

    def done(self, id_: str) -> None:
        """Look for this job no longer."""
        self._until.pop(id_, None)


def hold_still(pid: int) -> bool:
    """Stop the process, so that what it says it runs stays true until SIGKILL or SIGCONT.

    Return False, with the process going on, if it is dead or did not stop in time.
    """
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_WITHIN
        while time.monotonic() < deadline:
            seen = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None:
                return seen.si_code == os.CLD_STOPPED
            time.sleep(_LOOK_EVERY)
        os.kill(pid, signal.SIGCONT)
    return False
