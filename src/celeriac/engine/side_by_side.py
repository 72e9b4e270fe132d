"""Deliveries that run at the same time in one process, each through the steps of run.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.executor import Bury, Done, Executor, Job, Outcome
from celeriac.core.layer import Layer, wrap_run
from celeriac.core.lease import Lease
from celeriac.engine.journal import Journal
from celeriac.engine.note import Note, write_notes
from celeriac.engine.run import Finished, read
from celeriac.engine.terminate import TERMINATED, TIME_LIMIT

__all__ = ["GRACE", "ConcurrentExecutor", "Running", "SideBySide"]

#: Seconds that a body has to end once it has been given up, before its process is replaced.
GRACE = 1.0
#: Seconds that a delivery runs before it is told of.
_TOLD_AFTER = 0.1
#: Bytes around the three parts of a note, at most.
_NOTE_FRAME = 24


class ConcurrentExecutor(Executor, Protocol):
    """Runs bodies in several threads at once, or out of any thread."""

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:
        """Run the body and return its outcome; or set it going elsewhere and return None.

        Then ``resume`` is called once, from any thread, when the body has ended.
        """
        ...

    def conclude(self, job: Job) -> Outcome:
        """Do what is left to do after a launched body has ended, and return its outcome."""
        ...

    def interrupt(self, job: Job) -> None:
        """Raise the soft time limit's error in the running body; does nothing if it has just ended."""
        ...

    def abandon(self, job: Job, reason: str, signum: int) -> Outcome:
        """Record that the job was given up, and return what becomes of the message.

        ``reason`` is ``TIME_LIMIT`` or ``TERMINATED``, with the signal that others are told of. The
        body is told to end, and what it still does changes nothing. Raises :class:`BrokerUnavailable`
        when it cannot be recorded now; then it is called again later.
        """
        ...


class Running(msgspec.Struct, eq=False):
    """A delivery whose body is running. Times are monotonic seconds, 0 for none."""

    lease: Lease
    job: Job
    slot: int
    since: float
    soft_at: float = 0.0
    hard_at: float = 0.0
    note: Note | None = None
    #: When and why it was given up, if it was.
    given_up_at: float = 0.0
    reason: str = ""
    signum: int = 0


class SideBySide:
    """Runs deliveries for any number of threads; a delivery ends once, whoever ends it."""

    def __init__(self, executor: ConcurrentExecutor, journal: Journal, layers: Sequence[Layer] = ()) -> None:
        self._executor = executor
        self._journal = journal
        wraps = any(type(layer).run is not Layer.run for layer in layers)
        #: Layers wrap a call, so with them each body is run by a thread from its begin to its end.
        self._execute = wrap_run(layers, executor.run) if wraps else None
        self._running: dict[str, Running] = {}
        #: Given up: not recorded yet, and recorded but not ended.
        self._unrecorded: list[Running] = []
        self._stuck: dict[str, Running] = {}
        self._told: list[str] = []

    def __len__(self) -> int:
        return len(self._running) + len(self._unrecorded)

    @property
    def stuck(self) -> int:
        """How many bodies go on although they have been given up."""
        return len(self._stuck)

    def begin(self, lease: Lease, *, suspect: bool = False) -> Running | Finished:
        """Return the delivery, noted as begun, or what becomes of one that may not start.

        Raises :class:`BrokerUnavailable` if decoding it does; then it has not started.
        """
        found = read(self._executor, lease, time.time)
        if isinstance(found, Finished):
            return found
        job, hard_at = found
        # The supervisor's part comes after our own, for a process that cannot even do that.
        last = hard_at + 2 * GRACE if hard_at else 0.0
        slot = self._journal.begin(lease.id, at_most_once=job.at_most_once, deadline=last, suspect=suspect)
        now = time.monotonic()
        soft_at = now + job.soft_time_limit if job.soft_time_limit else 0.0
        running = Running(lease, job, slot, now, soft_at, hard_at)
        self._running[lease.id] = running
        return running

    def launch(self, running: Running, resume: Callable[[], None]) -> Outcome | None:
        """Run the body; return its outcome, or None if ``resume`` will be called when it has ended."""
        try:
            if self._execute is not None:
                return self._execute(running.job)
            return self._executor.launch(running.job, resume)
        except Exception as error:  # a layer or the executor failed: the message is kept with the reason
            return _not_run(error)

    def conclude(self, running: Running) -> Outcome:
        """Return the outcome of a body that has ended elsewhere."""
        try:
            return self._executor.conclude(running.job)
        except Exception as error:  # the executor failed, not the task: the message is kept with the reason
            return _not_run(error)

    def end(self, running: Running, outcome: Outcome) -> Finished | None:
        """Return the finished delivery; None if it was given up before."""
        if self._running.pop(running.lease.id, None) is None:
            self._stuck.pop(running.lease.id, None)
            return None
        job = running.job
        if job.result_ignored and type(outcome) is Done:
            self._journal.finish(running.slot)
        elif job.time_limit:
            self._journal.end(running.slot)
        return Finished(running.lease, outcome, running.slot)

    # -- In the keeper's thread

    def enforce_limits(self, now: float) -> None:
        """Interrupt what is over its soft limit, give up what is over its hard one."""
        for running in list(self._running.values()):
            if running.hard_at and now >= running.hard_at:
                self._give_up(running, TIME_LIMIT, now)
            elif running.soft_at and now >= running.soft_at:
                running.soft_at = 0.0
                self._executor.interrupt(running.job)

    def terminate(self, ids: Sequence[str], signum: int, now: float) -> None:
        """Give up these jobs, if they run; ``signum`` is what others are told of it."""
        for running in list(self._running.values()):
            if running.job.id in ids:
                running.signum = signum
                self._give_up(running, TERMINATED, now)

    def take_abandoned(self, finished: Callable[[Finished], None]) -> None:
        """Hand over what has been given up; one that cannot be recorded now is kept for the next time."""
        while self._unrecorded:
            finished(self._abandoned(self._unrecorded[0]))
            self._unrecorded.pop(0)

    def is_stuck(self, now: float) -> bool:
        """Whether a body goes on although it was given up some time ago."""
        return any(now > running.given_up_at + GRACE for running in list(self._stuck.values()))

    def tell(self, now: float) -> None:
        """Write into the journal what has been running for a moment, as much of it as there is room for."""
        told = [one for one in list(self._running.values()) if now - one.since >= _TOLD_AFTER]
        ids = [running.lease.id for running in told]
        if ids == self._told:
            return
        notes, left = [], self._journal.note_max
        for running in told:
            if running.note is None:
                running.note = self._note(running)
            left -= len(running.note.text) + len(running.note.lease) + len(running.note.id) + _NOTE_FRAME
            if left >= 0:
                notes.append(running.note)
        self._journal.note(write_notes(notes))
        self._told = ids

    def _give_up(self, running: Running, reason: str, now: float) -> None:
        running.given_up_at, running.reason = now, reason
        self._stuck[running.lease.id] = running  # first, as its thread may end it meanwhile
        if self._running.pop(running.lease.id, None) is None:
            del self._stuck[running.lease.id]
        else:
            self._unrecorded.append(running)

    def _note(self, running: Running) -> Note:
        try:
            text = self._executor.describe(running.job)
        except Exception:  # what cannot be described runs on as well; only its id is told
            text = b""
        return Note(running.lease.id, running.job.id, text)

    def _abandoned(self, running: Running) -> Finished:
        try:
            outcome = self._executor.abandon(running.job, running.reason, running.signum)
        except BrokerUnavailable:
            raise
        except Exception as error:  # it could not be recorded: the message is kept with the reason
            outcome = _not_run(error)
        return Finished(running.lease, outcome, running.slot)


def _not_run(error: Exception) -> Bury:
    return Bury(f"could not be run: {type(error).__name__}: {error}")
