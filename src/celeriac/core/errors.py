"""Every error that Celeriac raises on purpose.

CeleriacError
├── ConfigurationError      a setting, URL or option is wrong; nothing has started
│   └── MissingExtra        an optional library is absent; names the install line
├── BrokerError             the broker refused or could not be reached
│   └── BrokerUnavailable   the same call may succeed later
├── DuplicateTask           a call of a unique task while an earlier one counts
├── AlreadyDone             what is done only once has been done before
├── KeyReused               an idempotency key was used before, with other arguments
├── UnreferableObject       an object cannot be handed to a task
├── StaleObject             a row has changed since it was read, or since the call
└── MalformedMessage        the bytes of a message cannot be understood
    └── MalformedReference  what refers to a row refers to none that may be looked up
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AlreadyDone",
    "BrokerError",
    "BrokerUnavailable",
    "CeleriacError",
    "ConfigurationError",
    "DuplicateTask",
    "KeyReused",
    "MalformedMessage",
    "MalformedReference",
    "MissingExtra",
    "StaleObject",
    "UnreferableObject",
    "did_you_mean",
]


class CeleriacError(Exception):
    """Base of all errors raised on purpose; its text says what to do next."""


class ConfigurationError(CeleriacError):
    """A setting, URL or option cannot be used; nothing has been started."""


class MissingExtra(ConfigurationError):
    """An optional library is needed and absent."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'celeriac[{extra}]'")
        self.library = library
        self.extra = extra


class BrokerError(CeleriacError):
    """The broker refused a call; no message has changed its state."""


class BrokerUnavailable(BrokerError):
    """The broker could not be reached; the same call may succeed later."""


class DuplicateTask(CeleriacError):
    """A call of a unique task was not accepted, as an earlier one counts; nothing was published."""

    def __init__(self, task: str, existing: str) -> None:
        super().__init__(task, existing)
        self.task = task
        #: The id of the earlier call.
        self.existing = existing

    def __str__(self) -> str:
        return f"{self.task} is unique, and a call with the same arguments is under way as {self.existing}"


class AlreadyDone(CeleriacError):
    """What is done only once has been done before; nothing has been changed."""

    def __init__(self, consumer: str, key: str) -> None:
        super().__init__(consumer, key)
        self.consumer = consumer
        self.key = key

    def __str__(self) -> str:
        return f"{self.consumer} has been done for the key {self.key!r} before"


class KeyReused(CeleriacError):
    """An idempotency key was used before, with other arguments; nothing has been changed."""

    def __init__(self, consumer: str, key: str) -> None:
        super().__init__(consumer, key)
        self.consumer = consumer
        self.key = key

    def __str__(self) -> str:
        return (
            f"{self.consumer} has been done for the key {self.key!r} with other arguments:"
            " the key must name all that makes a call different"
        )


class UnreferableObject(CeleriacError):
    """An object cannot be handed to a task; nothing was published."""


class StaleObject(CeleriacError):
    """A row has changed since it was read, or since the call that names it; nothing was written."""

    def __init__(self, model: str, pk: object, expected: str | None, found: str | None) -> None:
        super().__init__(model, pk, expected, found)
        #: As ``"shop.Order"``, and its primary key.
        self.model = model
        self.pk = pk
        #: Versions, as ``version_of`` has them; None: there is no such row.
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        now = "it is gone" if self.found is None else f"it is at {self.found}"
        return f"{self.model} pk={self.pk} was read at version {self.expected}, and {now} now: read it again"


class MalformedMessage(CeleriacError):
    """The bytes of a message cannot be understood; its text is the reason kept with it."""


class MalformedReference(MalformedMessage):
    """What refers to a row refers to none that may be looked up."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
