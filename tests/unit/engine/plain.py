"""An executor of plain Python functions, and the messages that call them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from celeriac.core.errors import MalformedMessage
from celeriac.core.executor import DONE, Job, Outcome
from celeriac.core.lease import DeadLetter, Lease
from celeriac.core.message import Message

__all__ = ["PlainExecutor", "PlainJob", "call"]

Function = Callable[[str], Outcome | None]


class PlainJob(msgspec.Struct, kw_only=True):
    """A call of a plain function; its JSON is the payload of its message."""

    name: str
    #: Handed to the function, and the job's id.
    id: str = ""
    due: float | None = None
    at_most_once: bool = False
    result_ignored: bool = True
    soft_time_limit: float | None = None
    time_limit: float | None = None


def call(name: str, id_: str = "", *, queue: str = "q", priority: int = 0, **facts: object) -> Message:
    """A message that calls the function of this name; ``facts`` are further fields of the job."""
    job = msgspec.convert({"name": name, "id": id_, **facts}, PlainJob)
    return Message(queue=queue, payload=msgspec.json.encode(job), priority=priority)


class PlainExecutor:
    """Runs the functions it was made with; one that returns nothing is done.

    A job whose result is not ignored has its id ``held`` until ``flush`` moves it to ``stored``.
    ``trouble`` is raised by ``flush`` and ``decode`` as long as it is set.
    """

    def __init__(self, **functions: Function) -> None:
        self._functions = functions
        self.ran: list[str] = []
        self.held: list[str] = []
        self.stored: list[str] = []
        self.buried: list[DeadLetter] = []
        self.trouble: Exception | None = None

    def decode(self, lease: Lease) -> PlainJob:
        if self.trouble is not None:
            raise self.trouble
        try:
            return msgspec.json.decode(lease.message.payload, type=PlainJob)
        except msgspec.DecodeError as error:
            raise MalformedMessage(f"not a call: {error}") from None

    def run(self, job: Job) -> Outcome:
        self.ran.append(job.id)
        outcome = self._functions[job.name](job.id)
        if not job.result_ignored:
            self.held.append(job.id)
        return DONE if outcome is None else outcome

    def describe(self, job: Job) -> bytes:
        return f"{job.name} {job.id}".encode()

    def flush(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        while self.held:
            self.stored.append(self.held.pop(0))

    def bury(self, letter: DeadLetter) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.buried.append(letter)
