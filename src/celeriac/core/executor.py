"""Where the body of a task runs, seen from the engine: jobs in, outcomes out."""

from __future__ import annotations

from typing import Protocol

import msgspec

from celeriac.core.lease import DeadLetter, Lease

__all__ = ["DONE", "Bury", "Delay", "Done", "Executor", "Job", "Outcome", "Release"]


class Done(msgspec.Struct, frozen=True):
    """The delivery is settled: its message is done."""


class Release(msgspec.Struct, frozen=True):
    """The message goes back to its queue: as it was, or with another payload in place of its own."""

    payload: bytes | None = None


class Delay(msgspec.Struct, frozen=True):
    """The message waits in the broker until ``due`` (Unix seconds)."""

    due: float


class Bury(msgspec.Struct, frozen=True):
    """The message goes to the dead letters with this reason."""

    reason: str


Outcome = Done | Release | Delay | Bury

DONE = Done()


class Job(Protocol):
    """One decoded delivery, ready to run."""

    #: The task's id, and its registered name.
    id: str
    name: str
    #: Unix seconds before which it must not start, or None.
    due: float | None
    #: A crash while it runs must not start it again (Celery's ``acks_late=False``).
    at_most_once: bool
    #: Nothing is left to store once the body has returned.
    result_ignored: bool
    #: Seconds of run time after which the body is interrupted, and its process killed.
    soft_time_limit: float | None
    time_limit: float | None


class Executor(Protocol):
    """Decodes deliveries and runs their bodies, in a shard's process."""

    def decode(self, lease: Lease) -> Job:
        """Return the job; raise :class:`~celeriac.core.errors.MalformedMessage` with the reason."""
        ...

    def run(self, job: Job) -> Outcome:
        """Run the body to its end and return what becomes of the message; never raise for a task's error."""
        ...

    def describe(self, job: Job) -> bytes:
        """Return what somebody asking for running tasks is to be told of the job."""
        ...

    def flush(self) -> None:
        """Store what finished jobs have left to store; called before their leases are settled."""
        ...

    def bury(self, letter: DeadLetter) -> None:
        """Record that the message died unfinished, where whoever waits for its result looks."""
        ...
