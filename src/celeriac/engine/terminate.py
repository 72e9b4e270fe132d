"""Why running jobs are cut short, and killing the process of one of them, and of no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol, runtime_checkable

import msgspec

from celeriac.core.executor import Job
from celeriac.engine.notices import NoticePipe, Terminate

__all__ = ["TERMINATED", "TIME_LIMIT", "Announcing", "Terminations", "Wish", "hold_still"]

#: Why a terminated job's message leaves; nobody has to look at it as a dead letter.
TERMINATED = "it was terminated by remote control"
#: Why the message of one that ran too long leaves.
TIME_LIMIT = "it ran longer than its time limit"
#: Seconds for which a wish holds: a job that has just started says so only after a moment.
_PATIENCE = 2.0
#: Seconds that a shard has to tell others of a termination before the signal is sent.
_ANNOUNCE_WITHIN = 1.0
#: Seconds to wait for a process to stop.
_STOP_WITHIN, _LOOK_EVERY = 0.05, 0.0005


@runtime_checkable
class Announcing(Protocol):
    """An executor that can tell others of a termination while the body still runs."""

    def announce_terminated(self, job: Job, signum: int) -> None:
        """Record that the running job is terminated; called in another thread than the body's."""
        ...


class Wish(msgspec.Struct):
    """A job that is to end, if it is found running. Times are monotonic seconds."""

    id: str
    signum: int
    until: float
    #: When the shard was asked to tell others of it; 0: not yet.
    asked_at: float = 0.0

    def ask(self, notices: NoticePipe, now: float) -> None:
        """Ask the shard, once, to tell others of the termination, and to signal itself."""
        if not self.asked_at:
            self.asked_at = now
            self.until = max(self.until, now + _PATIENCE)
            notices.send(Terminate([self.id], self.signum))

    def falls_to_supervisor(self, now: float) -> bool:
        """Whether it is the supervisor that sends the signal.

        A shard can tell others of the termination before its body answers the signal, as Celery does.
        It cannot if it is to be killed, or if the body lets no other thread run.
        """
        late = self.asked_at and now > self.asked_at + _ANNOUNCE_WITHIN
        return bool(self.signum == signal.SIGKILL or late)


class Terminations:
    """The jobs that are to end if they are found running."""

    def __init__(self) -> None:
        self._wishes: dict[str, Wish] = {}

    def want(self, ids: Iterable[str], signum: int, now: float) -> None:
        """Look for these jobs for a moment from ``now`` (monotonic seconds)."""
        for id_ in ids:
            known = self._wishes.get(id_)
            if known is None or known.signum != signum:
                self._wishes[id_] = Wish(id_, signum, now + _PATIENCE)

    def wanted(self, now: float) -> dict[str, Wish]:
        """Return what to look for at ``now``, by job."""
        if self._wishes:
            self._wishes = {id_: wish for id_, wish in self._wishes.items() if wish.until > now}
        return self._wishes

    def done(self, wish: Wish) -> None:
        """Look for this job no longer."""
        self._wishes.pop(wish.id, None)


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
