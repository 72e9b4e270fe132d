"""Messages, leases and their kin are values: frozen, equal by content, with the defaults callers rely on."""

from __future__ import annotations

from itertools import combinations

import msgspec
import pytest

from celeriac.core.broker import Features, Promoted, QueueStats
from celeriac.core.executor import DONE, Bury, Delay, Done, Release
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message

MESSAGE = Message(queue="celery", payload=b"{}")
LEASE = Lease("1", "node/1", MESSAGE)
LETTER = DeadLetter(id="1", message=MESSAGE, reason="poison", died_at=1.0, deliveries=5)

VALUES: list[msgspec.Struct] = [
    MESSAGE,
    LEASE,
    LETTER,
    Claimed([LEASE]),
    Reaped(1, [LETTER]),
    Eviction(owner="node/1"),
    Scheduled(MESSAGE, 5.0),
    Features(),
    QueueStats(),
    Promoted(),
    Done(),
    Release(),
    Delay(5.0),
    Bury("poison"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: msgspec.Struct) -> None:
    assert value.__struct_config__.frozen
    for field in value.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(value, field, None)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_equal_by_content(value: msgspec.Struct) -> None:
    same = type(value)(**{field: getattr(value, field) for field in value.__struct_fields__})
    assert same == value
    assert same is not value


def test_messages_and_leases_can_be_members_of_sets() -> None:
    assert len({MESSAGE, Message(queue="celery", payload=b"{}")}) == 1
    assert len({LEASE, Lease("1", "node/1", MESSAGE), Lease("2", "node/1", MESSAGE)}) == 2


def test_a_message_is_by_default_ready_at_once_and_first_served() -> None:
    assert (MESSAGE.priority, MESSAGE.due) == (0, None)


def test_a_lease_is_by_default_the_first_delivery() -> None:
    assert LEASE.deliveries == 1


def test_an_eviction_that_names_nothing_touches_no_started_delivery() -> None:
    eviction = Eviction(owner="node/1")
    assert (eviction.finished, eviction.interrupted, eviction.forfeited) == (frozenset(), frozenset(), {})


def test_two_evictions_share_no_state() -> None:
    first, second = Eviction(owner="a"), Eviction(owner="b")
    first.forfeited["1"] = "crashed"
    assert second.forfeited == {}


def test_a_broker_promises_nothing_it_does_not_declare() -> None:
    assert not any(msgspec.structs.asdict(Features()).values())


def test_positional_mistakes_are_refused_where_fields_look_alike() -> None:
    with pytest.raises(TypeError):
        Message("celery", b"{}")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        DeadLetter("1", MESSAGE, "poison", 1.0, 5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Eviction("node/1")  # type: ignore[call-arg]


def test_outcomes_are_told_apart_by_type_and_content() -> None:
    outcomes: list[object] = [Done(), Release(), Delay(5.0), Delay(6.0), Bury("poison"), Bury("late")]
    assert [outcome == DONE for outcome in outcomes] == [True, *[False] * 5]
    assert all(one != other for one, other in combinations(outcomes, 2))
