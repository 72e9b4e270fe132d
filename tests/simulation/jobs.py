"""What tasks do in a schedule, and what is written down of it outside of everything under test."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from celeriac.core.errors import BrokerUnavailable, MalformedMessage
from celeriac.core.executor import DONE, Bury, Delay, Job, Outcome, Release
from celeriac.core.lease import DeadLetter, Lease
from celeriac.core.message import Message
from tests.simulation.witness import Held, Witness
from tests.simulation.world import World

__all__ = ["Call", "Observer", "ScriptedExecutor"]


class Call(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A job as its message tells it."""

    id: str
    name: str = "job"
    due: float | None = None
    at_most_once: bool = False
    result_ignored: bool = True
    soft_time_limit: float | None = None
    time_limit: float | None = None
    #: Seconds that its body takes, each time.
    takes: float = 0.0
    #: What becomes of it: done, bury, release, delay, retry, or poison, which kills its process.
    ending: str = "done"
    #: How often it ends so before it is done.
    times: int = 1

    def message(self, due: float | None = None) -> Message:
        """Return the message that calls it; ``due`` holds it back in the broker."""
        return Message(queue="q", payload=_encode(self), due=due)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Call).decode


class Observer:
    """Writes down what tasks do, and fails the schedule at the first thing that must not happen."""

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self.stored: set[tuple[str, str]] = set()
        self.starts = 0
        self.repeats = 0

    def started(self, held: Held, call: Call) -> None:
        """A body begins: check that it may."""
        fail, entry = self._world.fail, held.entry
        self.starts += 1
        if held.started:
            fail(f"{call.id} was started twice under one lease")
        if held.ended_by is not None and not held.ended_by.startswith("reaped"):
            fail(f"{call.id} was started although its lease was {held.ended_by}")
        if call.due is not None and call.due > self._world.now + held.skew:
            fail(f"{call.id} was started {call.due - self._world.now - held.skew:.3f} s early")
        if entry.message.due is not None and entry.message.due > self._world.now:
            fail(f"{call.id} was started before the broker's clock said so")
        held.started = True
        if held.ended_by is not None:
            return  # its process was silent for longer than its lease, and settles nothing
        before = [one for one in entry.history if one.started and one is not held]
        self.repeats += bool(before)
        for one in before:
            self._may_repeat(one, call)

    def _may_repeat(self, before: Held, call: Call) -> None:
        how = before.ended_by or ""
        if how.startswith("reaped"):
            return  # its node was silent for longer than its lease: checked where it was reaped
        if how.startswith("settled"):
            wanted = {"settled as ready": Release, "settled as delayed": Delay}.get(how)
            if wanted is None or not isinstance(before.outcome, wanted):
                self._world.fail(f"{call.id} was started again although it had been {how}")
        elif call.at_most_once:
            self._world.fail(f"{call.id} must not start twice and was {how} by a shard's death")
        elif before.ended and call.result_ignored and before.outcome == DONE:
            self._world.fail(f"{call.id} was started again although it had finished before its shard died")


class ScriptedExecutor:
    """Runs calls as their messages ask, in one simulated process."""

    def __init__(
        self,
        world: World,
        witness: Witness,
        observer: Observer,
        publish: Callable[[Message], None],
        store: Callable[[], None],
    ) -> None:
        """``store`` is the way to the result store; it may raise :class:`BrokerUnavailable`."""
        self._world = world
        self._witness = witness
        self._observer = observer
        self._publish = publish
        self._store = store
        self._held: list[tuple[str, str]] = []
        self._leases: dict[str, Held] = {}

    def decode(self, lease: Lease) -> Call:
        self._world.step("decode")
        held = self._witness.held(lease)
        held.decoded, held.skew = True, self._world.process.machine.skew
        try:
            call = _decode(lease.message.payload)
        except msgspec.DecodeError as error:
            held.outcome = Bury("")
            raise MalformedMessage(str(error)) from None
        self._leases[call.id] = held
        return call

    def run(self, job: Job) -> Outcome:
        assert isinstance(job, Call)
        world, held = self._world, self._leases.pop(job.id)
        world.step("start")
        self._observer.started(held, job)
        world.say(world.process.name, f"runs {job.id} under lease {held.id}, delivery {held.deliveries}")
        if job.takes:
            world.sleep(job.takes)
        world.step("run")
        outcome = self._end(job, held)
        if not job.result_ignored:
            self._held.append((held.owner, held.id))
        held.outcome, held.ended = outcome, True
        world.say(world.process.name, f"has run {job.id}: {outcome}")
        return outcome

    def _end(self, job: Call, held: Held) -> Outcome:
        """What its body comes to; nothing passes between this and its return but for a retry's sending."""
        if job.ending == "poison":
            self._world.process.kill()
        runs = sum(one.ended for one in held.entry.history)
        if job.ending == "done" or runs >= job.times:
            return DONE
        if job.ending == "bury":
            return Bury("it asked for it")
        if job.ending == "release":
            return Release()
        if job.ending == "delay":
            return Delay(self._world.now + 0.2)
        self._retry(job, held)
        return DONE

    def _retry(self, job: Call, held: Held) -> None:
        """Publish a further call of it, as Celery's retry does."""
        self._world.step("retry")
        again = msgspec.structs.replace(
            job, id=f"{job.id}/{held.id}@{held.owner}", times=job.times - 1, due=self._world.now + 0.2
        )
        try:
            self._publish(again.message())
        except BrokerUnavailable:
            return

    def describe(self, job: Job) -> bytes:
        return job.id.encode()

    def flush(self) -> None:
        if self._held:
            self._world.step("result")
            storing = list(self._held)
            self._store()
            self._observer.stored.update(storing)
            del self._held[: len(storing)]

    def bury(self, letter: DeadLetter) -> None:
        """Nobody waits for a result."""
