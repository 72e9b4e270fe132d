"""What the engine may ask of the broker, given what its tasks really did."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from celeriac.core.executor import Bury, Done, Release
from celeriac.core.lease import Eviction, Lease
from celeriac.engine.supervisor import TIME_LIMIT
from tests.simulation.jobs import Call, Observer
from tests.simulation.witness import Held, Witness
from tests.simulation.world import Process, World

__all__ = ["Judge"]

_call = msgspec.json.Decoder(Call).decode


class Judge:
    """Compares each request with the ledger of what ran; told of a request before it is carried out."""

    def __init__(self, world: World, witness: Witness, observer: Observer) -> None:
        self._world = world
        self._witness = witness
        self._observer = observer
        #: The processes of all shards, by owner.
        self.owners: dict[str, Process] = {}
        #: Shards that their supervisor has killed on purpose: no delivery is counted.
        self.killed_on_purpose: set[str] = set()
        #: Owners that were evicted; what one holds after that came with a request of the dead.
        self._gone: set[str] = set()

    def acked(self, leases: Sequence[Lease]) -> None:
        """Only what ran to its end is acked, and its result has been stored."""
        for held in self._still_held(leases):
            if not (held.ended and isinstance(held.outcome, Done)):
                self._world.fail(f"{held.entry} was acked and had not ended as done: {held.outcome}")
            self._stored(held)

    def released(self, leases: Sequence[Lease]) -> None:
        """Only what has not started, or asked for it, goes back."""
        for held in self._still_held(leases):
            if held.started and not isinstance(held.outcome, Release):
                self._world.fail(f"{held.entry} was given back and had started")

    def buried(self, leases: Sequence[Lease]) -> None:
        """Only what cannot be read or asked for it is buried by a shard."""
        for held in self._still_held(leases):
            if not isinstance(held.outcome, Bury):
                self._world.fail(f"{held.entry} was buried for no reason")

    def reaped(self, owners: Sequence[str]) -> None:
        """Leases run out only where something kept the node from renewing them."""
        for owner in owners:
            process = self.owners.get(owner)
            if process is None or owner in self._gone or process.machine.disturbed:
                continue
            supervised = process.parent is not None and process.parent.alive
            # A shard without a supervisor ends, and tries for as long as a lease lasts to settle before.
            excused = not supervised and self._world.now < self._world.orphans_disturbed_until
            if (process.alive or supervised) and not excused:
                self._world.fail(f"{process.name} was well, and its leases ran out")

    def evicted(self, eviction: Eviction) -> None:
        """A dead shard's messages are dealt with by what it had started and finished."""
        process = self.owners.get(eviction.owner)
        if process is not None and process.alive:
            self._world.fail(f"{eviction.owner} was evicted, and lives")
        self._gone.add(eviction.owner)
        for held in self._witness.held_by(eviction.owner):
            self._evicted(held, eviction)

    def _evicted(self, held: Held, eviction: Eviction) -> None:
        finished, interrupted = held.id in eviction.finished, held.id in eviction.interrupted
        forfeited = held.id in eviction.forfeited
        what = f"{held.entry} under lease {held.id}"
        if not held.decoded and (finished or interrupted or forfeited):
            self._world.fail(f"{what} had never been looked at, and is not given back as it was")
        if not held.started:
            return
        call = _call(held.entry.message.payload)
        if finished:
            if not (held.ended and isinstance(held.outcome, Done)):
                self._world.fail(f"{what} is taken for finished, and had not ended")
            self._stored(held)
        elif held.ended and call.result_ignored and isinstance(held.outcome, Done):
            self._world.fail(f"{what} had finished, and is not taken for it")
        elif call.at_most_once and not forfeited:
            self._world.fail(f"{what} had started and must not start twice, and goes back")
        elif not (forfeited or interrupted) and not self._on_purpose(eviction):
            self._world.fail(f"{what} had started, and its delivery is not counted")

    def _on_purpose(self, eviction: Eviction) -> bool:
        return eviction.owner in self.killed_on_purpose or TIME_LIMIT in eviction.forfeited.values()

    def _still_held(self, leases: Sequence[Lease]) -> list[Held]:
        known = [self._witness.held(lease) for lease in leases]
        return [held for held in known if held.ended_by is None]

    def _stored(self, held: Held) -> None:
        call = _call(held.entry.message.payload)
        if not call.result_ignored and (held.owner, held.id) not in self._observer.stored:
            self._world.fail(f"{held.entry} was settled before its result was stored")
