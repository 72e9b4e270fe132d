"""The judge of the crash matrix sees each kind of broken promise, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.django.matrix.ledger import Entry
from tests.django.matrix.verdict import BROKEN, judge

ORDERS = [["1-00", "1-a"], ["1-01", "1-a"], ["1-02", "1-b"]]


def verdict(orders: list[list[str]], effects: dict[str, int], *said: str) -> dict[str, Any]:
    entries = [Entry(*line.split(" "), at=float(place)) for place, line in enumerate(said)]
    return judge(entries, {"orders": orders, "effects": effects}, {1: "somewhere"})["somewhere"]


def broken(found: dict[str, Any]) -> dict[str, int]:
    return {what: found[what] for what in BROKEN if found[what]}


ONCE = {key: 1 for key, _ in ORDERS}


def test_all_is_well() -> None:
    said = [f"{what} {key}" for key in ONCE for what in ("committed", "received", "delivered", "started")]
    found = verdict(ORDERS, ONCE, *said)
    assert broken(found) == {}
    assert (found["runs"], found["committed"], found["repeated"], found["overtaken"]) == (1, 3, 0, 0)


@pytest.mark.parametrize(
    ("orders", "effects", "said", "expected"),
    [
        (ORDERS, {"1-00": 1, "1-02": 1}, [], {"lost": 1}),
        (ORDERS[1:], ONCE | {"1-00": 0}, ["committed 1-00"], {"lost": 1, "orphans": 1}),
        (ORDERS, ONCE | {"1-01": 2}, [], {"not_once": 1}),
        (ORDERS[:2], ONCE, [], {"orphans": 1}),
        (ORDERS[:2], {"1-00": 1, "1-01": 1}, ["received 1-02"], {"orphans": 1}),
        (ORDERS, ONCE, ["received 1-01", "received 1-00"], {"inversions": 1}),
        (ORDERS, ONCE, ["received 1-02", "received 1-00", "received 1-01"], {}),
        (ORDERS, ONCE, ["received 1-00", "received 1-01", "received 1-00"], {}),
    ],
)
def test_what_is_broken_is_counted(
    orders: list[list[str]], effects: dict[str, int], said: list[str], expected: dict[str, int]
) -> None:
    assert broken(verdict(orders, effects, *said)) == expected


OPEN = ["began 1-00", "began 1-01", "committed 1-01", "received 1-01", "committed 1-00", "received 1-00"]


@pytest.mark.parametrize(
    ("said", "step", "inversions"),
    [
        (OPEN, "somewhere (stopped)", 0),
        # Its process was killed in between, right after the commit.
        ([OPEN[0], "killed 1", *OPEN[1:4], OPEN[5]], "somewhere", 1),
        # It went on later, and nobody knows when its transaction ended.
        ([OPEN[0], "killed 1", *OPEN[1:4], OPEN[5]], "somewhere (stopped)", 0),
        ([OPEN[0], OPEN[4], *OPEN[1:4], OPEN[5]], "somewhere (stopped)", 1),
    ],
)
def test_transactions_that_were_open_at_the_same_time_have_no_order(
    said: list[str], step: str, inversions: int
) -> None:
    entries = [Entry(*line.split(" "), at=float(place)) for place, line in enumerate(said)]
    found = judge(entries, {"orders": ORDERS[:2], "effects": {"1-00": 1, "1-01": 1}}, {1: step})
    assert found[step]["inversions"] == inversions


def test_who_is_overtaken_after_a_death_and_who_comes_twice_breaks_nothing() -> None:
    said = ["received 1-00", "received 1-01", "started 1-01", "started 1-00", "started 1-01"]
    found = verdict(ORDERS, ONCE, *said)
    assert broken(found) == {}
    assert (found["overtaken"], found["repeated"]) == (1, 1)


def test_recovery_ends_with_the_last_order_that_was_there_before_the_kill() -> None:
    said = ["committed 1-00", "committed 1-01", "killed 1", "started 1-01", "started 1-00", "committed 1-02"]
    assert verdict(ORDERS, ONCE, *said, "started 1-02")["recovered_p100"] == 2.0
