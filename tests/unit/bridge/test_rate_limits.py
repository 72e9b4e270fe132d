"""Turns to start: never more than the limit, and none is lost when many wait."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.bridge.rate_limits import RateLimits

NOW = 1_000_000.0


def test_one_starts_now_and_each_other_gets_a_turn_of_its_own() -> None:
    limits = RateLimits(["job", "other"])
    assert limits.wait_until("job", 2.0, NOW) is None
    assert [limits.wait_until("job", 2.0, NOW) for _ in range(3)] == [NOW + 0.5, NOW + 1.0, NOW + 1.5]
    assert limits.wait_until("other", 2.0, NOW) is None
    assert limits.wait_until("no such job", 2.0, NOW) is None


def test_who_comes_back_at_its_turn_starts() -> None:
    limits = RateLimits(["job"])
    limits.wait_until("job", 2.0, NOW)
    turns = [limits.wait_until("job", 2.0, NOW) for _ in range(5)]
    assert [limits.wait_until("job", 2.0, turn or 0) for turn in turns] == [None] * 5


def test_nobody_waits_longer_than_half_a_minute_before_asking_again() -> None:
    limits = RateLimits(["job"])
    limits.wait_until("job", 1 / 3600, NOW)
    waits = [(limits.wait_until("job", 1 / 3600, NOW) or 0) - NOW for _ in range(50)]
    assert all(15 <= wait <= 30 for wait in waits)


def test_a_new_limit_counts_from_now() -> None:
    limits = RateLimits(["job"])
    limits.wait_until("job", 1 / 3600, NOW)
    limits.forget("job")
    assert limits.wait_until("job", 10.0, NOW) is None
    assert limits.wait_until("job", 10.0, NOW) == pytest.approx(NOW + 0.1)


@given(
    st.floats(min_value=0.1, max_value=100),
    st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=60),
)
def test_never_more_starts_than_the_limit_allows(per_second: float, gaps: list[float]) -> None:
    limits = RateLimits(["job"])
    now, starts = NOW, []
    for gap in gaps:
        now += gap
        if limits.wait_until("job", per_second, now) is None:
            starts.append(now)
    elapsed = starts[-1] - starts[0]
    # One may be early by a tenth of an interval, but what is taken early is missing later.
    assert len(starts) <= elapsed * per_second + 1.2


def test_processes_share_the_turns() -> None:
    limits = RateLimits(["job"])
    child = os.fork()
    if child == 0:
        took = limits.wait_until("job", 1.0, NOW) is None
        os._exit(0 if took else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert limits.wait_until("job", 1.0, NOW) == NOW + 1
