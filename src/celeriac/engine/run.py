"""One delivery, from its lease to what becomes of it: a list of named steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from celeriac.core.errors import BrokerUnavailable, MalformedMessage
from celeriac.core.executor import DONE, Bury, Delay, Done, Executor, Job, Outcome
from celeriac.core.layer import Layer, wrap_run
from celeriac.core.lease import Lease
from celeriac.engine.journal import Journal
from celeriac.engine.note import Note, write_notes

__all__ = ["Finished", "Runner", "read"]


class Finished(msgspec.Struct):
    """A delivery whose outcome is known and not yet settled with the broker."""

    lease: Lease
    outcome: Outcome
    #: Its place in the journal, or None if it was never started.
    slot: int | None = None


def read(executor: Executor, lease: Lease, clock: Callable[[], float]) -> tuple[Job, float] | Finished:
    """Return the job that may start now and its deadline, or what becomes of one that may not start.

    The deadline is in monotonic seconds, 0 for none. Raises :class:`BrokerUnavailable` if decoding does.
    """
    try:
        job = executor.decode(lease)
        if job.due is not None and job.due > clock():
            return Finished(lease, Delay(job.due))
        return job, time.monotonic() + job.time_limit if job.time_limit else 0.0
    except MalformedMessage as error:
        return Finished(lease, Bury(str(error)))
    except BrokerUnavailable:
        raise
    except Exception as error:
        # It has not started, and no other shard could do better: the message is kept with the reason.
        return Finished(lease, Bury(f"could not be read: {type(error).__name__}: {error}"))


class Runner:
    """Runs deliveries one after the other in the calling thread."""

    def __init__(
        self,
        executor: Executor,
        journal: Journal,
        layers: Sequence[Layer] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._executor = executor
        self._journal = journal
        self._execute = wrap_run(layers, executor.run)
        self._clock = clock
        self._told = False
        #: What runs now, under which lease and in which slot, for the keeper to tell about.
        self.running: tuple[str, Job, int] | None = None
        #: The lease of a job that is done whatever its body does, as others were told of its termination.
        self._announced: str | None = None

    def run(self, lease: Lease) -> Finished:
        """Return the delivery with its outcome: decode, hold back until due, begin, execute, finish.

        Raises :class:`BrokerUnavailable` if decoding it does; then it has not started.
        """
        found = read(self._executor, lease, self._clock)
        if isinstance(found, Finished):
            return found
        job, deadline = found
        slot = self._journal.begin(lease.id, at_most_once=job.at_most_once, deadline=deadline)
        self.running = lease.id, job, slot
        outcome = self._run_body(job)
        self.running = None
        if self._told:
            outcome = self._untell(lease, outcome)
        self._note_end(job, outcome, slot)
        return Finished(lease, outcome, slot)

    def tell(self) -> None:
        """Write into the journal what runs now."""
        running = self.running
        self._told = True
        self._journal.note(write_notes([self._note(*running)]) if running is not None else b"")
        if self.running is not running:  # it has ended meanwhile, perhaps before it was told of
            self._journal.note(b"")

    def end_announced(self, running: tuple[str, Job, int], signum: int) -> None:
        """What others were told is terminated is done, if it still runs, and its thread has the signal.

        Bodies run in the main thread. Meanwhile nothing must be settled, or its slot might be another's.
        """
        if self.running is running and (thread := threading.main_thread().ident) is not None:
            self._announced = running[0]
            self._journal.announce(running[2])
            self._journal.expect_signal(signum)
            signal.pthread_kill(thread, signum)

    def _untell(self, lease: Lease, outcome: Outcome) -> Outcome:
        """Nothing is told of the delivery any more; return its outcome."""
        self._told = False
        self._journal.note(b"")
        self._journal.take_signal()
        announced, self._announced = self._announced, None
        return DONE if announced == lease.id else outcome

    def _note(self, lease: str, job: Job, _slot: int) -> Note:
        try:
            text = self._executor.describe(job)
        except Exception:  # what cannot be described runs on as well; only its id is told
            text = b""
        return Note(lease, job.id, text)

    def _note_end(self, job: Job, outcome: Outcome, slot: int) -> None:
        if job.result_ignored and type(outcome) is Done:
            self._journal.finish(slot)
        elif job.time_limit:
            self._journal.end(slot)

    def _run_body(self, job: Job) -> Outcome:
        try:
            return self._execute(job)
        except Exception as error:
            # A layer or the executor failed, not the task: the message is kept with the reason.
            return Bury(f"could not be run: {type(error).__name__}: {error}")
