from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.errors import ConfigurationError
from celeriac.core.lease import Lease
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.engine.queue_order import FairShares, QueueOrder, queue_order

ENDLESS = 10**9


def lease(queue: str) -> Lease:
    return Lease("1.0", "owner", Message(queue=queue, payload=b""))


def claim(order: QueueOrder, waiting: Counter[str], n: int) -> Counter[str]:
    """What a broker gives: strictly in the order of the queues, up to ``n`` messages."""
    got: Counter[str] = Counter()
    for queue in order.next():
        got[queue] = min(waiting[queue], n - got.total())
    waiting.subtract(got)
    order.claimed([lease(queue) for queue, count in got.items() for _ in range(count)])
    return got


def claim_often(order: QueueOrder, waiting: Counter[str], sizes: Sequence[int]) -> Counter[str]:
    return sum((claim(order, waiting, n) for n in sizes), Counter[str]())


weights = st.dictionaries(st.sampled_from("abcde"), st.floats(0.1, 10), min_size=2)
sizes = st.lists(st.integers(1, 256), min_size=1, max_size=60)
#: Before each claim, how many messages arrive at which queue.
arrivals = st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 400)), max_size=60)


@given(weights, sizes)
def test_full_queues_share_by_weight_to_within_a_batch_of_each(
    weight: dict[str, float], batches: list[int]
) -> None:
    order = FairShares(list(weight), weight)
    got = claim_often(order, Counter(dict.fromkeys(weight, ENDLESS)), batches)
    assert got.total() == sum(batches)
    for a in weight:
        for b in weight:
            allowed = max(batches) / weight[a] + max(batches) / weight[b]
            assert abs(got[a] / weight[a] - got[b] / weight[b]) <= allowed + 1e-6


@given(weights, arrivals, sizes)
def test_who_was_empty_gets_no_credit_and_pays_no_debt(
    weight: dict[str, float], arriving: list[dict[str, int]], batches: list[int]
) -> None:
    """After any history, queues that are full from now on share as if there had been none."""
    queues = list(weight)
    order = FairShares(queues, weight)
    waiting: Counter[str] = Counter()
    for new in arriving:
        waiting.update({queue: count for queue, count in new.items() if queue in weight})
        claim(order, waiting, 64)
    before = max([64, *batches])
    got = claim_often(order, Counter(dict.fromkeys(queues, ENDLESS)), batches)
    for a in queues:
        for b in queues:
            allowed = before / weight[a] + before / weight[b]
            assert abs(got[a] / weight[a] - got[b] / weight[b]) <= 2 * allowed + 1e-6


@given(weights, arrivals)
def test_nobody_waits_for_an_empty_queue(weight: dict[str, float], arriving: list[dict[str, int]]) -> None:
    order = FairShares(list(weight), weight)
    waiting: Counter[str] = Counter()
    for new in arriving:
        waiting.update({queue: count for queue, count in new.items() if queue in weight})
        there = waiting.total()
        assert claim(order, waiting, 64).total() == min(there, 64)


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_urgent_messages_of_one_queue_do_not_keep_the_others_from_their_shares(urgent: list[str]) -> None:
    """Priorities come first, whatever the order; the rest is shared nevertheless."""
    order = FairShares("abc", {})
    waiting = Counter(dict.fromkeys("abc", ENDLESS))
    for queue in urgent:
        order.claimed([lease(queue)] * 10)
    got = claim_often(order, waiting, [10] * 300)
    assert min(got.values()) >= 1000 - 10 * (len(urgent) + 2)


def test_in_order_the_first_full_queue_gets_everything() -> None:
    order = queue_order(["b", "a"], Settings(engine_queue_order="ordered"))
    waiting = Counter(a=ENDLESS, b=100)
    assert claim_often(order, waiting, [64, 64, 64]) == Counter(a=92, b=100)


def test_in_turn_is_the_default_and_begins_with_the_first() -> None:
    order = queue_order(["b", "a"], Settings())
    waiting = Counter(a=ENDLESS, b=ENDLESS)
    assert [+claim(order, waiting, 5) for _ in range(4)] == [Counter(b=5), Counter(a=5)] * 2


def test_weights_are_kept_whatever_the_size_of_a_batch() -> None:
    settings = Settings(engine_queue_order="weighted", engine_queue_weights={"high": 3})
    order = queue_order(["high", "low"], settings)
    waiting = Counter(high=ENDLESS, low=ENDLESS)
    assert claim_often(order, waiting, [1] * 400) == Counter(high=300, low=100)
    got = claim_often(order, waiting, [256, 1] * 200)
    assert got["high"] / got["low"] == pytest.approx(3, rel=0.1)


def test_a_single_queue_costs_nothing() -> None:
    order = queue_order(["only"], Settings())
    assert order.next() is order.next()


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine_queue_order": "fair"},
        {"engine_queue_order": "weighted", "engine_queue_weights": {"a": 0}},
        {"engine_queue_weights": {"a": 2}},
        {"engine_queue_order": "ordered", "engine_queue_weights": {"a": 2}},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="engine_queue"):
        Settings.from_mapping(wrong)
