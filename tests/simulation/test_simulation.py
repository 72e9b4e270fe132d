"""The engine keeps its promises in every schedule; and each broken part is found within a few of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from celeriac.brokers.memory import MemoryBroker
from tests.simulation import long_run
from tests.simulation.long_run import LongRun
from tests.simulation.many import Totals, first_violation, run_many, trace_of
from tests.simulation.mutants import BROKERS, ENGINES, broken_broker, broken_engine
from tests.simulation.plan import FAULTS, STEPS

SCHEDULES = 10_000
#: Within so many schedules a broken part must be found.
SEEDS = range(600)


@pytest.fixture(scope="module")
def totals() -> Totals:
    totals = Totals()
    for some in run_many(0, SCHEDULES, len(os.sched_getaffinity(0))):
        totals.merge(some)
    return totals


@pytest.mark.timeout(900)
def test_every_promise_is_kept_in_ten_thousand_schedules(totals: Totals) -> None:
    if totals.violations:
        seed = min(totals.violations)
        lines, _ = trace_of(seed)
        pytest.fail("\n".join([f"seed {seed} of {sorted(totals.violations)}:", *lines]), pytrace=False)
    assert totals.schedules == SCHEDULES


@pytest.mark.timeout(900)
def test_the_schedules_reach_every_step_and_inject_every_fault(totals: Totals) -> None:
    assert set(STEPS) <= totals.steps.keys()
    assert all(totals.injected[kind] > SCHEDULES / 500 for kind in FAULTS), totals.injected
    assert totals.injected["request of the dead"] > 20
    assert totals.repeats > SCHEDULES / 20
    assert totals.dead > SCHEDULES / 20


def test_an_interrupted_run_goes_on_where_its_summary_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_run, "SAVE_EVERY", 60)
    whole, interrupted = (LongRun(7, 200, 1, tmp_path / name) for name in ("whole", "interrupted"))
    list(whole.go())
    next(totals for totals in interrupted.go() if totals.schedules > 130)
    resumed = LongRun(0, 200, 1, tmp_path / "interrupted")
    resumed.take_up()
    assert (resumed.first, resumed.totals.schedules) == (7, 120)
    list(resumed.go())
    assert resumed.totals == whole.totals


def test_a_seed_always_does_the_same() -> None:
    for seed in range(20):
        assert trace_of(seed) == trace_of(seed)


@pytest.mark.parametrize("kind", BROKERS, ids=lambda kind: kind.__name__)
def test_a_broken_broker_is_found(kind: type[MemoryBroker]) -> None:
    assert first_violation(SEEDS, broken_broker(kind)) is not None


@pytest.mark.parametrize("broken", ENGINES, ids=lambda broken: broken[2].__name__)
def test_a_broken_engine_is_found(broken: Any) -> None:
    with broken_engine(*broken):
        assert first_violation(SEEDS) is not None
