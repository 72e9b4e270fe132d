"""What one seed stands for: the settings, the work and the faults of a schedule."""

from __future__ import annotations

from random import Random

import msgspec

from celeriac.core.settings import Settings
from tests.simulation.jobs import Call
from tests.simulation.world import EPOCH

__all__ = ["FAULTS", "MOST_AHEAD", "MOST_BEHIND", "STEPS", "Fault", "Plan", "Sending", "draw"]

#: Where a fault may be due, besides at any time.
STEPS = (
    "publish",
    "publish answered",
    "claim",
    "claim answered",
    "decode",
    "start",
    "run",
    "retry",
    "result",
    "ack",
    "ack answered",
    "delay",
    "delay answered",
    "release",
    "release answered",
    "bury",
    "bury answered",
    "renew",
    "renew answered",
    "promote",
    "promote answered",
    "reap",
    "reap answered",
    "evict",
    "evict answered",
)

#: Kinds of fault and how often each is drawn.
FAULTS = {
    "kill process": 10,
    "kill shard": 6,
    "kill supervisor": 4,
    "kill node": 5,
    "pause process": 5,
    "pause node": 3,
    "broker outage": 3,
    "slow broker": 2,
    "lost answers": 4,
    "result store outage": 2,
    "clock step": 2,
    "warm stop": 3,
    "cold stop": 2,
}

#: Seconds by which a node's clock may differ from the broker's. One that is behind finds a message that the
#: broker has just made ready not due yet, and hands it back until it is: hundreds of times a second.
MOST_BEHIND, MOST_AHEAD = -0.02, 3.0


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong, at a time or at the n-th occurrence of a step."""

    kind: str
    at: float
    step: str
    nth: int
    node: int
    seconds: float


class Sending(msgspec.Struct, frozen=True):
    """Calls that a producer sends together after a pause."""

    pause: float
    calls: list[Call]
    #: The broker itself is told when they are due.
    native: bool


class Plan(msgspec.Struct, frozen=True):
    """All that chance decides before a schedule begins."""

    settings: Settings
    nodes: int
    shards: int
    skews: list[float]
    tick: float
    sendings: list[list[Sending]]
    faults: list[Fault]
    #: Seconds until nothing new goes wrong.
    trouble: float


def draw(random: Random) -> Plan:
    """Return the plan of a schedule."""
    lease = random.choice((1.0, 1.0, 2.0))
    settings = Settings(
        engine_lease_seconds=lease,
        engine_max_deliveries=random.randint(1, 4),
        engine_batch_seconds=random.choice((0.02, 0.2, 0.5)),
        engine_batch_max=random.choice((1, 2, 4, 8)),
        engine_settle_seconds=random.choice((0.03, 0.1, 0.3)),
        engine_giveback_seconds=random.choice((0.05, 0.1, 0.4)),
    )
    skewed = random.random() < 0.3
    trouble = random.uniform(0.3, 2.0)
    return Plan(
        settings=settings,
        nodes=random.choice((1, 1, 2, 2, 3)),
        shards=random.choice((1, 1, 2)),
        skews=[random.uniform(MOST_BEHIND, MOST_AHEAD) if skewed else 0.0 for _ in range(8)],
        tick=random.choice((1.5, 3.0, 4.0)),
        sendings=[_sendings(random, number, lease, trouble) for number in range(random.choice((1, 1, 2)))],
        faults=[_fault(random, lease, trouble) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4)))],
        trouble=trouble,
    )


def _sendings(random: Random, producer: int, lease: float, trouble: float) -> list[Sending]:
    sendings, number = [], 0
    for _ in range(random.randint(1, 4)):
        calls = []
        for _ in range(random.randint(1, 4)):
            number += 1
            calls.append(_call(random, f"{producer}.{number}", lease))
        sendings.append(Sending(random.random() * trouble / 2, calls, random.random() < 0.5))
    return sendings


def _call(random: Random, name: str, lease: float) -> Call:
    chance = random.random()
    takes = 0.0 if chance < 0.5 else random.random() * (0.3 if chance < 0.85 else 2.5 * lease)
    early = random.random() < 0.4
    endings = ("done",) * 7 + (
        ("bury", "retry", "poison") if early else ("bury", "retry", "poison", "release", "delay")
    )
    return Call(
        id=name,
        due=EPOCH + random.random() * 2.5 if random.random() < 0.2 else None,
        at_most_once=early,
        result_ignored=random.random() < 0.6,
        time_limit=random.choice((0.5, 3.0)) * lease if random.random() < 0.1 else None,
        takes=takes,
        ending=random.choice(endings),
        times=random.randint(1, 2),
    )


_KINDS, _WEIGHTS = list(FAULTS), list(FAULTS.values())


def _fault(random: Random, lease: float, trouble: float) -> Fault:
    by_time = random.random() < 0.3
    return Fault(
        kind=random.choices(_KINDS, _WEIGHTS)[0],
        at=random.random() * trouble,
        step="" if by_time else random.choice(STEPS),
        nth=1 + int(random.random() ** 2 * 12),
        node=random.randrange(3),
        seconds=random.choice((0.05, 0.3, 1.0, 1.5, 3.0)) * lease,
    )
