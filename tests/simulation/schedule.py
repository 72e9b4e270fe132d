"""One schedule: a fleet of nodes and producers lives through a plan's faults, and is judged.

accepted means kept         every message that the broker took ends done or dead
one state                   no call finds a message where the state machine does not have it
fencing                     a lease that was taken back settles nothing, and its holder is told
at most once                without acks_late, what started is not started again after a shard's death
at least once, explained    a repeat has a death or a silence of its node before it
kept leases                 leases run out only where something kept a node from renewing them
counted deaths              a message is buried as poisonous after as many deaths, not before or later
not early                   nothing starts before its time
settled is settled          what is done is never claimed again; results are stored before that
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import Broker
from tests.simulation.fleet import Fleet
from tests.simulation.plan import Plan, draw
from tests.simulation.virtual_library import VirtualLibrary
from tests.simulation.world import Violation, World

__all__ = ["Outcome", "run_schedule"]

#: Virtual seconds that a fleet may take to finish everything once nothing goes wrong any more.
PATIENCE = 90.0

OpenBroker = Callable[[World], Broker]


class Outcome(msgspec.Struct, frozen=True):
    """What came of one schedule."""

    seed: int
    #: The promise that was broken, or None.
    violation: str | None
    messages: int
    starts: int
    repeats: int
    done: int
    dead: int
    #: Virtual seconds.
    seconds: float
    injected: Counter[str]
    #: How often each named step was reached.
    steps: Counter[str]


def memory_broker(world: World) -> Broker:
    """The real broker, on the world's clock."""
    return MemoryBroker(clock=lambda: world.now)


def run_schedule(
    seed: int,
    library: VirtualLibrary,
    open_broker: OpenBroker = memory_broker,
    trace: list[tuple[float, str, str]] | None = None,
) -> Outcome:
    """Run the schedule of this seed; the same seed always does the same."""
    random = Random(seed)
    plan = draw(random)
    world = library.world = World(random, trace)
    world.say("plan", _describe(plan))
    fleet = Fleet(world, plan, open_broker(world))
    violation = None
    try:
        _live_through(fleet, world, plan)
    except Violation as broken:
        violation = str(broken)
    finally:
        world.close()
    states = Counter(entry.state for entry in fleet.witness.entries.values())
    return Outcome(
        seed=seed,
        violation=violation,
        messages=len(fleet.witness.entries),
        starts=fleet.observer.starts,
        repeats=fleet.observer.repeats,
        done=states["done"],
        dead=states["dead"],
        seconds=world.elapsed,
        injected=world.injected,
        steps=world.reached,
    )


def _live_through(fleet: Fleet, world: World, plan: Plan) -> None:
    fleet.start()
    world.run(lambda: False, plan.trouble)
    fleet.calm()
    if not world.run(lambda: fleet.quiet, plan.trouble + PATIENCE):
        stuck = [
            f"{entry} is {entry.state}"
            for entry in fleet.witness.entries.values()
            if entry.state not in ("done", "dead")
        ]
        world.fail(f"not finished {PATIENCE:g} s after the last fault: {'; '.join(stuck)}")
    fleet.witness.compare_at_the_end(fleet.broker.dead_letters(limit=1000))


def _describe(plan: Plan) -> str:
    shown = (
        f"{plan.nodes} nodes of {plan.shards} shards",
        f"leases of {plan.settings.engine_lease_seconds:g} s",
        f"{plan.settings.engine_max_deliveries} deliveries at most",
    )
    return ", ".join(shown)
