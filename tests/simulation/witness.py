"""The lease protocol as a small state machine, which is told of every call and knows what must come of it.

It keeps no queue and no clock of its own: one entry for each message, one deadline for each owner. What
the broker answers is compared with it call by call, so a broker that loses, doubles or forgets to fence
is found at the call that does so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped
from celeriac.core.message import Message
from tests.simulation.world import World

__all__ = ["Entry", "Held", "Witness"]


class Held:
    """One lease, from its claim to whatever ended it."""

    __slots__ = (
        "decoded",
        "deliveries",
        "ended",
        "ended_by",
        "entry",
        "id",
        "outcome",
        "owner",
        "skew",
        "started",
    )

    def __init__(self, entry: Entry, lease: Lease) -> None:
        self.entry = entry
        self.id = lease.id
        self.owner = lease.owner
        self.deliveries = lease.deliveries
        #: What the worker did under it.
        self.decoded = self.started = self.ended = False
        self.outcome: object = None
        #: How far the clock was ahead by which it was found to be due.
        self.skew = 0.0
        #: The call that ended it; None while it is held.
        self.ended_by: str | None = None


class Entry:
    """One message that the broker has accepted."""

    __slots__ = ("deliveries", "due", "history", "lease", "message", "state")

    def __init__(self, message: Message, state: str) -> None:
        self.message = message
        self.state = state
        self.due = message.due or 0.0
        self.deliveries = 1
        #: The lease under which it is held.
        self.lease: Held | None = None
        #: All leases it ever had, the latest last.
        self.history: list[Held] = []

    def __str__(self) -> str:
        return self.message.payload.decode()


class Witness:
    """Follows every message from ``send`` to its end."""

    def __init__(self, world: World, max_deliveries: int) -> None:
        self._world = world
        self._max = max_deliveries
        self.entries: dict[bytes, Entry] = {}
        self.leases: dict[tuple[str, str], Held] = {}
        self._deadlines: dict[str, float] = {}
        self._open = 0

    @property
    def quiet(self) -> bool:
        """Whether every message is done or dead."""
        return not self._open

    def held(self, lease: Lease) -> Held:
        """Return what is known of a lease."""
        return self.leases[lease.owner, lease.id]

    def holds_anything(self, queues: Sequence[str]) -> bool:
        """Whether a message of these queues may be claimed now."""
        return any(e.state == "ready" and e.message.queue in queues for e in self.entries.values())

    # -- What the broker was asked, and answered

    def sent(self, messages: Sequence[Message]) -> None:
        for message in messages:
            late = message.due is not None and message.due > self._world.now
            self.entries[message.payload] = Entry(message, "delayed" if late else "ready")
            self._open += 1

    def claimed(self, owner: str, n: int, lease_for: float, ack: Sequence[Lease], answer: Claimed) -> None:
        self.settled("done", ack, answer.lost)
        self._deadlines[owner] = self._world.now + lease_for
        if len(answer.leases) > n or any(lease.deliveries > 1 for lease in answer.leases[:-1]):
            self._world.fail("a claim brought too much: more than asked for, or more after a suspect")
        self.promoted()
        for lease in answer.leases:
            entry = self.entries.get(lease.message.payload)
            if entry is None:
                self._world.fail(f"a message came from nowhere: {lease}")
            if entry.state != "ready":
                self._world.fail(f"{entry} was claimed while it was {entry.state}: it is in two states")
            if lease.deliveries != entry.deliveries:
                self._world.fail(f"{entry} came as delivery {lease.deliveries}, not {entry.deliveries}")
            if (lease.owner, lease.id) in self.leases:
                self._world.fail(f"lease {lease.id} of {lease.owner} was given out twice")
            held = Held(entry, lease)
            self.leases[lease.owner, lease.id] = entry.lease = held
            entry.history.append(held)
            entry.state = "leased"

    def renewed(self, owners: Iterable[str], lease_for: float) -> None:
        for owner in owners:
            if owner in self._deadlines:
                self._deadlines[owner] = self._world.now + lease_for

    def settled(
        self, state: str, leases: Sequence[Lease], lost: Sequence[Lease], dues: Sequence[float] = ()
    ) -> None:
        """A lease that is held moves its message; one that was taken back changes nothing."""
        if not leases:
            return
        expected = {(one.owner, one.id) for one in leases if self.held(one).ended_by is not None}
        if {(one.owner, one.id) for one in lost} != expected:
            self._world.fail(
                f"of {sorted(one.id for one in leases)}, taken back were {sorted(expected)},"
                f" and as lost were given {sorted((one.owner, one.id) for one in lost)}: fencing failed"
            )
        for index, lease in enumerate(leases):
            held = self.held(lease)
            if held.ended_by is None:
                self._end(held, state, f"settled as {state}")
                if dues:
                    held.entry.due = dues[index]

    def promoted(self) -> int:
        """Return how many messages had to become ready."""
        count = 0
        for entry in self.entries.values():
            if entry.state == "delayed" and entry.due <= self._world.now:
                entry.state = "ready"
                count += 1
        return count

    def reaped(self, answer: Reaped) -> list[str]:
        """Return the owners whose deadline had passed."""
        overdue = [owner for owner, deadline in self._deadlines.items() if deadline <= self._world.now]
        taken = [one for one in self._held_by(overdue) if self._take_back(one, 1, None, "reaped")]
        self._compare("reap", taken, answer)
        for owner in overdue:
            del self._deadlines[owner]
        return overdue

    def evicted(self, eviction: Eviction, answer: Reaped) -> None:
        taken = []
        for held in self._held_by([eviction.owner]):
            if held.id in eviction.finished:
                self._end(held, "done", "evicted as finished")
                continue
            crashed = held.id in eviction.interrupted
            taken.append(held)
            self._take_back(held, crashed, eviction.forfeited.get(held.id), "evicted")
        self._compare("eviction", taken, answer)
        self._deadlines.pop(eviction.owner, None)

    def held_by(self, owner: str) -> list[Held]:
        """Return the leases that the owner holds."""
        return self._held_by([owner])

    # -- Parts of the above

    def _held_by(self, owners: Sequence[str]) -> list[Held]:
        held = [entry.lease for entry in self.entries.values() if entry.lease is not None]
        return [lease for lease in held if lease.owner in owners]

    def _take_back(self, held: Held, crashes: int, forfeited: str | None, how: str) -> bool:
        poisoned = crashes and held.deliveries >= self._max
        if forfeited is not None:
            self._end(held, "dead", f"{how} as forfeited")
        elif poisoned:
            self._end(held, "dead", f"{how} as poisonous")
        else:
            self._end(held, "ready", f"{how} as interrupted" if crashes else f"{how} unstarted")
            held.entry.deliveries += crashes
        return True

    def _compare(self, what: str, taken: Sequence[Held], answer: Reaped) -> None:
        dead = sorted(held.entry.message.payload for held in taken if held.entry.state == "dead")
        buried = sorted(letter.message.payload for letter in answer.buried)
        returned = len(taken) - len(dead)
        if answer.returned != returned or buried != dead:
            self._world.fail(
                f"the {what} returned {answer.returned} and buried {len(buried)};"
                f" it had to return {returned} and bury {len(dead)}"
            )

    def _end(self, held: Held, state: str, how: str) -> None:
        held.ended_by = how
        held.entry.lease = None
        held.entry.state = state
        self._open -= state in ("done", "dead")

    def compare_at_the_end(self, dead: Sequence[DeadLetter]) -> None:
        """The broker's dead letters are those that died, and nothing else."""
        known = sorted(entry.message.payload for entry in self.entries.values() if entry.state == "dead")
        if sorted(letter.message.payload for letter in dead) != known:
            self._world.fail(f"{len(known)} messages died, and {len(dead)} are among the dead letters")
