"""One process's connection to the broker: slow, lossy, and cut off wherever the process dies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

from celeriac.core.broker import Broker, Features, Promoted, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message
from tests.simulation.judge import Judge
from tests.simulation.witness import Witness
from tests.simulation.world import Killed, World

__all__ = ["Link", "Weather"]

Answer = TypeVar("Answer")


class Weather:
    """How the way to the broker is for everybody: its delays, outages and lost answers."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        #: Mean seconds that a request or an answer takes, if it is not instant.
        self.latency = random.choice((0.0002, 0.002, 0.01))
        self.instant = random.choice((0.3, 0.7, 0.9))
        self.out_until = 0.0
        self.slow_until = 0.0
        self.store_out_until = 0.0
        #: How many answers are still to be lost.
        self.losing = 0
        #: Strands that wait for a message.
        self.listening: list[Callable[[], None]] = []

    def delay(self) -> float:
        """Seconds that one way takes now."""
        random = self._random
        if self._world.now < self.slow_until:
            return random.random() * 1.5
        return 0.0 if random.random() < self.instant else random.expovariate(1 / self.latency)

    def arrived(self) -> None:
        """Wake whoever waits for a message."""
        listening, self.listening = self.listening, []
        for wake in listening:
            wake()

    @property
    def out(self) -> bool:
        return self._world.now < self.out_until


class Link:
    """A broker as one process reaches it; the witness is told of each call as it is carried out."""

    def __init__(
        self, world: World, weather: Weather, broker: Broker, witness: Witness, judge: Judge
    ) -> None:
        self.features: Features = broker.features
        self._world = world
        self._weather = weather
        self._broker = broker
        self._witness = witness
        self._judge = judge
        #: Claimed by calls whose answers were lost; given back with the next claim, as on Redis.
        self._doubtful: list[Lease] = []

    # -- Calls

    def send(self, messages: Sequence[Message]) -> None:
        def carry_out() -> None:
            self._broker.send(messages)
            self._witness.sent(messages)
            self._weather.arrived()

        self._call("publish", carry_out)

    def claim(
        self,
        queues: Sequence[str],
        n: int,
        *,
        owner: str,
        lease_for: float,
        ack: Sequence[Lease] = (),
    ) -> Claimed:
        got: list[Lease] = []
        carried_out = False

        def carry_out() -> Claimed:
            nonlocal carried_out
            if self._doubtful:
                self._witness.settled("ready", self._doubtful, self._broker.release(self._doubtful))
                self._doubtful = []
            self._judge.acked(ack)
            answer = self._broker.claim(queues, n, owner=owner, lease_for=lease_for, ack=ack)
            self._witness.claimed(owner, n, lease_for, ack, answer)
            got.extend(answer.leases)
            carried_out = True
            return answer

        try:
            claimed = self._call("ack" if ack else "claim", carry_out)
        except BrokerUnavailable:
            if carried_out:
                self._doubtful += got
            raise
        if claimed.leases:
            self._tell("claims", claimed.leases)
        return claimed

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        if self._weather.out:
            raise BrokerUnavailable("it is down")
        if not self._witness.holds_anything(queues):
            strand = self._world.strand
            self._weather.listening.append(lambda: self._world.wake(strand))
            self._world.park(timeout)

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        names = list(owners)

        def carry_out() -> None:
            self._broker.renew(names, lease_for)
            self._witness.renewed(names, lease_for)

        if names:
            self._call("renew", carry_out)

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        def carry_out() -> Sequence[Lease]:
            self._judge.acked(leases)
            lost = self._broker.ack(leases)
            self._witness.settled("done", leases, lost)
            return lost

        return self._call("ack", carry_out) if leases else ()

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        def carry_out() -> Sequence[Lease]:
            self._judge.released(leases)
            lost = self._broker.release(leases)
            self._witness.settled("ready", leases, lost)
            self._weather.arrived()
            return lost

        return self._call("release", carry_out) if leases else ()

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        def carry_out() -> Sequence[Lease]:
            only = [lease for lease, _ in leases]
            lost = self._broker.delay(leases)
            self._witness.settled("delayed", only, lost, [due for _, due in leases])
            return lost

        return self._call("delay", carry_out) if leases else ()

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        def carry_out() -> Sequence[Lease]:
            only = [lease for lease, _ in leases]
            self._judge.buried(only)
            lost = self._broker.bury(leases)
            self._witness.settled("dead", only, lost)
            return lost

        return self._call("bury", carry_out) if leases else ()

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        def carry_out() -> Promoted:
            answer = self._broker.promote_due(now, limit)
            if answer.count != (expected := self._witness.promoted()):
                self._world.fail(f"{answer.count} messages were promoted instead of {expected}")
            if answer.count:
                self._weather.arrived()
            return answer

        return self._call("promote", carry_out)

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        def carry_out() -> Reaped:
            answer = self._broker.reap(now, max_deliveries=max_deliveries)
            owners = self._witness.reaped(answer)
            self._judge.reaped(owners)
            if owners:
                self._world.say("broker", f"takes back what {', '.join(owners)} held")
                self._weather.arrived()
            return answer

        return self._call("reap", carry_out)

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        def carry_out() -> Reaped:
            self._judge.evicted(eviction)
            answer = self._broker.evict(eviction, max_deliveries=max_deliveries)
            self._witness.evicted(eviction, answer)
            self._world.say("broker", f"takes back what the dead {eviction.owner} held")
            self._weather.arrived()
            return answer

        return self._call("evict", carry_out)

    # -- The way there and back

    def _call(self, step: str, carry_out: Callable[[], Answer]) -> Answer:
        world, weather = self._world, self._weather
        world.step(step)
        if step == "delay":
            world.sleep(0.001)  # so that what is handed back at once does not go round in no time at all
        self._travel(carry_out)
        if weather.out:
            raise BrokerUnavailable("it is down")
        answer = carry_out()
        world.step(f"{step} answered")
        if delay := weather.delay():
            world.sleep(delay)
        if weather.losing and step not in ("publish", "evict", "reap"):
            weather.losing -= 1
            world.injected["lost answer"] += 1
            world.say(world.process.name, f"loses the answer to its {step}")
            raise BrokerUnavailable("the connection was lost")
        return answer

    def _travel(self, carry_out: Callable[[], object]) -> None:
        delay = self._weather.delay()
        if not delay:
            return
        strand = self._world.strand
        try:
            self._world.sleep(delay)
        except Killed:
            # The request had left the process: the server may carry it out after its death.
            if self._world.failure is None and self._world.random.random() < 0.5:
                self._world.injected["request of the dead"] += 1
                self._world.after(delay, lambda: self._after_death(strand.process.name, carry_out))
            raise

    def _after_death(self, name: str, carry_out: Callable[[], object]) -> None:
        if not self._weather.out:
            self._world.say(name, "is dead, and its last request arrives")
            carry_out()

    def _tell(self, verb: str, leases: Sequence[Lease]) -> None:
        if self._world.trace is not None:
            ids = ", ".join(f"{lease.id} ({self._witness.held(lease).entry})" for lease in leases)
            self._world.say(self._world.process.name, f"{verb} {ids}")

    # -- Not used by the engine's upkeep

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        return self._broker.stats(queues)

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        return self._broker.scheduled(queues, offset, limit)

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        return self._broker.dead_letters(offset, limit)

    def retry_dead(self, ids: Iterable[str]) -> int:
        return self._broker.retry_dead(ids)

    def drop_dead(self, ids: Iterable[str]) -> int:
        return self._broker.drop_dead(ids)

    def purge(self, queues: Sequence[str]) -> int:
        return self._broker.purge(queues)

    def close(self) -> None:
        """A connection holds nothing."""
