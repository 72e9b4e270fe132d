"""What a worker's processes count together."""

from __future__ import annotations

import os
from collections.abc import Callable

from celeriac.bridge.clock import SharedClock
from celeriac.bridge.totals import Totals


def in_a_child(work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_totals_add_up_over_shards_and_their_successors() -> None:
    totals = Totals(["b", "a", "never"])
    for shard in (1, 2, 1):
        counter = totals.counter(shard)
        in_a_child(
            lambda counter=counter: [counter.add(name) for name in ("a", "b", "a", "registered later")]
        )
    assert totals.by_name() == {"a": 6, "b": 3}


def test_an_app_without_tasks_has_no_totals() -> None:
    assert Totals([]).by_name() == {}


def test_the_clock_goes_on_from_where_any_process_has_taken_it() -> None:
    clock = SharedClock(5)
    assert clock.forward() == 6
    in_a_child(clock.forward)
    assert (clock.value, clock.forward()) == (7, 8)
    in_a_child(lambda: clock.adjust(100))
    assert clock.forward() == 102
    assert str(clock) == "102"
