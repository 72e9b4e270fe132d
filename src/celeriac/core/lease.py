"""The right to run one delivery of a message, and what may become of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from celeriac.core.message import Message

__all__ = ["Claimed", "DeadLetter", "Eviction", "Lease", "Reaped", "Scheduled"]


class Lease(msgspec.Struct, frozen=True):
    """One claimed delivery. Whoever holds a lease that was taken back can settle nothing with it.

    ``id`` is unique among all leases its ``owner`` ever held, at most 47 ASCII characters: a new
    claim of the same message makes a new id, which is what fences a paused worker out.
    """

    id: str
    owner: str
    message: Message
    #: 1 for the first delivery; more says how many workers died holding it, plus one.
    deliveries: int = 1


class Claimed(msgspec.Struct, frozen=True):
    """What one claim brought: new leases, and those of the acked ones that were no longer ours."""

    leases: Sequence[Lease] = ()
    lost: Sequence[Lease] = ()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that will not be delivered again unless somebody asks for it."""

    id: str
    message: Message
    reason: str
    #: Unix seconds.
    died_at: float
    deliveries: int


class Reaped(msgspec.Struct, frozen=True):
    """What a reap or an eviction did: how many went back, which were buried for good."""

    returned: int = 0
    buried: Sequence[DeadLetter] = ()


class Eviction(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a dead owner's leases, by lease id. Leases not named were not started."""

    owner: str
    #: Ran to the end with nothing left to store: settled as done.
    finished: frozenset[str] = frozenset()
    #: Were running and may run again: go back with one more delivery counted.
    interrupted: frozenset[str] = frozenset()
    #: Were running and must not run twice: go to the dead letters with this reason.
    forfeited: dict[str, str] = {}


class Scheduled(msgspec.Struct, frozen=True):
    """A message that waits in the broker until ``due`` (Unix seconds)."""

    message: Message
    due: float
