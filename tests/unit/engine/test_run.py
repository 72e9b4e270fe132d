"""One delivery, from its lease to what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.executor import DONE, Bury, Delay, Done, Job, Outcome, Release
from celeriac.core.layer import Layer, Run
from celeriac.core.lease import Lease
from celeriac.core.message import Message
from celeriac.engine.journal import Journal
from celeriac.engine.note import Note, read_notes
from celeriac.engine.run import Runner
from tests.unit.engine.plain import PlainExecutor, call


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(8)
    yield journal
    journal.close()


def lease_of(message: Message, id_: str = "lease-1") -> Lease:
    return Lease(id_, "me", message)


def states(journal: Journal) -> dict[str, tuple[bool, bool]]:
    """By lease: whether it must not run twice, and whether it has finished."""
    return {entry.lease: (entry.at_most_once, entry.finished) for entry in journal.entries()}


def boom(_: str) -> Outcome:
    raise RuntimeError("the executor is broken")


def test_what_cannot_be_decoded_is_buried_with_the_reason(journal: Journal) -> None:
    executor = PlainExecutor()
    finished = Runner(executor, journal).run(lease_of(Message(queue="q", payload=b"nonsense")))
    assert isinstance(finished.outcome, Bury)
    assert finished.outcome.reason.startswith("not a call: ")
    assert finished.slot is None
    assert (executor.ran, states(journal)) == ([], {})


@pytest.mark.parametrize("error", [KeyError("task"), TypeError("not iterable"), RecursionError()])
def test_what_the_executor_stumbles_over_is_buried_too(journal: Journal, error: Exception) -> None:
    executor = PlainExecutor(work=lambda _: None)
    executor.trouble = error
    finished = Runner(executor, journal).run(lease_of(call("work")))
    assert finished.outcome == Bury(f"could not be read: {type(error).__name__}: {error}")
    assert (executor.ran, states(journal)) == ([], {})


def test_a_delivery_that_cannot_be_decoded_now_is_the_callers(journal: Journal) -> None:
    executor = PlainExecutor(work=lambda _: None)
    executor.trouble = BrokerUnavailable("the result store does not answer")
    with pytest.raises(BrokerUnavailable):
        Runner(executor, journal).run(lease_of(call("work")))
    assert (executor.ran, states(journal)) == ([], {})


def test_what_is_not_due_is_delayed_and_not_started(journal: Journal) -> None:
    executor = PlainExecutor(work=lambda _: None)
    runner = Runner(executor, journal, clock=lambda: 1000.0)
    finished = runner.run(lease_of(call("work", due=1000.5)))
    assert (finished.outcome, finished.slot) == (Delay(1000.5), None)
    assert (executor.ran, states(journal)) == ([], {})


@pytest.mark.parametrize("due", [None, 0.0, 999.0, 1000.0])
def test_what_is_due_runs(journal: Journal, due: float | None) -> None:
    executor = PlainExecutor(work=lambda _: None)
    runner = Runner(executor, journal, clock=lambda: 1000.0)
    assert runner.run(lease_of(call("work", "a", due=due))).outcome == DONE
    assert executor.ran == ["a"]


@pytest.mark.parametrize("at_most_once", [True, False])
def test_while_the_body_runs_the_journal_says_so(journal: Journal, *, at_most_once: bool) -> None:
    seen: list[object] = []
    executor = PlainExecutor(work=lambda _: seen.append(states(journal)))
    runner = Runner(executor, journal)
    runner.run(lease_of(call("work", at_most_once=at_most_once)))
    assert seen == [{"lease-1": (at_most_once, False)}]


def test_nothing_left_to_store_means_finished(journal: Journal) -> None:
    finished = Runner(PlainExecutor(work=lambda _: None), journal).run(lease_of(call("work")))
    assert (finished.outcome, states(journal)) == (DONE, {"lease-1": (False, True)})


def test_a_result_left_to_store_means_not_finished_yet(journal: Journal) -> None:
    executor = PlainExecutor(work=lambda _: None)
    finished = Runner(executor, journal).run(lease_of(call("work", result_ignored=False)))
    assert (finished.outcome, states(journal)) == (DONE, {"lease-1": (False, False)})


@pytest.mark.parametrize("outcome", [Release(), Delay(5.0), Bury("rejected")])
def test_what_is_to_be_settled_otherwise_is_not_finished(journal: Journal, outcome: Outcome) -> None:
    finished = Runner(PlainExecutor(work=lambda _: outcome), journal).run(lease_of(call("work")))
    assert (finished.outcome, states(journal)) == (outcome, {"lease-1": (False, False)})
    assert finished.slot is not None


def test_an_executor_that_raises_buries_the_message(journal: Journal) -> None:
    finished = Runner(PlainExecutor(boom=boom), journal).run(lease_of(call("boom")))
    assert finished.outcome == Bury("could not be run: RuntimeError: the executor is broken")
    assert states(journal) == {"lease-1": (False, False)}


def test_an_unreachable_store_while_it_runs_does_not_start_it_again(journal: Journal) -> None:
    def work(_: str) -> None:
        raise BrokerUnavailable("gone")

    finished = Runner(PlainExecutor(work=work), journal).run(lease_of(call("work")))
    assert finished.outcome == Bury("could not be run: BrokerUnavailable: gone")


def test_the_deadline_is_the_time_limit_from_now(journal: Journal) -> None:
    seen: list[float] = []
    executor = PlainExecutor(work=lambda _: seen.extend(entry.deadline for entry in journal.entries()))
    runner = Runner(executor, journal)
    before = time.monotonic()
    runner.run(lease_of(call("work", time_limit=30), "with"))
    runner.run(lease_of(call("work"), "without"))
    assert before + 30 <= seen[0] <= time.monotonic() + 30
    assert seen[-1] == 0.0


@pytest.mark.parametrize("outcome", [DONE, Release(), Bury("rejected")])
def test_the_time_limit_ends_with_the_body(journal: Journal, outcome: Outcome) -> None:
    """However long the broker or the result store keeps what has ended waiting."""
    runner = Runner(PlainExecutor(work=lambda _: outcome), journal)
    runner.run(lease_of(call("work", time_limit=30, result_ignored=False)))
    [entry] = journal.entries()
    assert (entry.finished, entry.deadline) == (False, 0.0)


class Noting(Layer):
    """Writes down what passes, and may change the outcome."""

    def __init__(self, name: str, notes: list[str], outcome: Outcome | None = None) -> None:
        self.name, self.notes, self.outcome = name, notes, outcome

    def run(self, job: Job, proceed: Run) -> Outcome:
        self.notes.append(f"{self.name} before {job.id}")
        outcome = proceed(job)
        self.notes.append(f"{self.name} after {type(outcome).__name__}")
        return outcome if self.outcome is None else self.outcome


def test_layers_wrap_the_body_the_first_outermost(journal: Journal) -> None:
    notes: list[str] = []

    def work(_: str) -> None:
        notes.append("body")

    layers = [Noting("outer", notes, Bury("by the outer layer")), Noting("inner", notes, Release())]
    finished = Runner(PlainExecutor(work=work), journal, layers).run(lease_of(call("work", "a")))
    assert notes == ["outer before a", "inner before a", "body", "inner after Done", "outer after Release"]
    assert finished.outcome == Bury("by the outer layer")


def test_a_layer_may_keep_the_body_from_running(journal: Journal) -> None:
    class Closed(Layer):
        def run(self, job: Job, proceed: Run) -> Outcome:
            return Done()

    executor = PlainExecutor(work=lambda _: None)
    assert Runner(executor, journal, [Closed()]).run(lease_of(call("work"))).outcome == DONE
    assert executor.ran == []


def test_a_layer_that_raises_buries_the_message(journal: Journal) -> None:
    class Broken(Layer):
        def run(self, job: Job, proceed: Run) -> Outcome:
            proceed(job)
            raise ValueError("no")

    finished = Runner(PlainExecutor(work=lambda _: None), journal, [Broken()]).run(lease_of(call("work")))
    assert finished.outcome == Bury("could not be run: ValueError: no")


def test_tells_what_runs_and_nothing_once_it_has_ended(journal: Journal) -> None:
    told: list[list[Note]] = []

    def work(_: str) -> None:
        runner.tell()
        told.append(read_notes(journal.read_note()))

    runner = Runner(
        PlainExecutor(work=work, quick=lambda _: told.append(read_notes(journal.read_note()))), journal
    )
    runner.run(lease_of(call("work", "a"), "1"))
    runner.run(lease_of(call("quick", "b"), "2"))
    assert told == [[Note("1", "a", b"work a")], []]
    runner.tell()
    assert journal.read_note() == b""
