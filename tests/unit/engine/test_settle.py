"""What has finished, on its way to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events, LeaseLost, MessageBuried
from celeriac.core.executor import Bury, Delay, Outcome, Release
from celeriac.core.lease import Eviction, Lease
from celeriac.engine.journal import Journal
from celeriac.engine.run import Finished, Runner
from celeriac.engine.settle import Settler
from tests.unit.engine.flaky_broker import FlakyBroker
from tests.unit.engine.plain import PlainExecutor, call

LATER = time.time() + 3600
OUTCOMES: dict[str, Callable[[], Outcome | None]] = {
    "done": lambda: None,
    "delay": lambda: Delay(LATER),
    "bury": lambda: Bury("rejected"),
    "release": Release,
    "replace": lambda: Release(b"another"),
}
#: What one call of the broker settles; a message that is replaced takes two, and may be repeated between.
AT_ONCE = [name for name in OUTCOMES if name != "replace"]


class Desk:
    """A settler, and everything it works with."""

    def __init__(self) -> None:
        self.broker = FlakyBroker(MemoryBroker())
        self.executor = PlainExecutor(**{name: self._outcome(name) for name in OUTCOMES})
        self.journal = Journal(64)
        self.events = Events()
        self.lost: list[LeaseLost] = []
        self.buried: list[MessageBuried] = []
        self.events.subscribe(LeaseLost, self.lost.append)
        self.events.subscribe(MessageBuried, self.buried.append)
        self.settler = Settler(self.broker, self.executor, self.journal, self.events, every=0.02)
        self.runner = Runner(self.executor, self.journal)

    @staticmethod
    def _outcome(name: str) -> Callable[[str], Outcome | None]:
        return lambda _: OUTCOMES[name]()

    def finish(self, *names: str, result_ignored: bool = True) -> list[Finished]:
        """Claim and run calls of these functions, and hand them to the settler.

        Their ids are "0 done", "1 bury" and so on.
        """
        calls = [call(name, f"{n} {name}", result_ignored=result_ignored) for n, name in enumerate(names)]
        self.broker.inner.send(calls)
        leases = self.broker.inner.claim(["q"], len(names), owner="me", lease_for=60).leases
        finished = [self.runner.run(lease) for lease in leases]
        for one in finished:
            self.settler.add(one)
        return finished

    @property
    def stats(self) -> QueueStats:
        return self.broker.inner.stats(["q"])["q"]

    @property
    def journaled(self) -> dict[str, bool]:
        """By lease: whether the journal has it as finished."""
        return {entry.lease: entry.finished for entry in self.journal.entries()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_finished_asks_the_broker_for_nothing(desk: Desk) -> None:
    desk.settler.settle()
    assert (len(desk.settler), desk.broker.calls) == (0, [])


def test_each_outcome_goes_to_its_verb(desk: Desk) -> None:
    desk.finish("done", "delay", "bury", "release", "done")
    assert len(desk.settler) == 5
    desk.settler.settle()
    assert desk.stats == QueueStats(ready=1, leased=0, delayed=1, dead=1)
    assert [entry.due for entry in desk.broker.inner.scheduled(["q"])] == [LATER]
    assert [letter.reason for letter in desk.broker.inner.dead_letters()] == ["rejected"]
    assert (len(desk.settler), desk.journaled, desk.lost) == (0, {}, [])
    assert desk.buried == [MessageBuried(queue="q", reason="rejected")]


def test_what_goes_back_otherwise_than_it_came_replaces_it(desk: Desk) -> None:
    desk.finish("replace", "release")
    desk.settler.settle()
    assert desk.stats == QueueStats(ready=2, leased=0, delayed=0, dead=0)
    payloads = [
        lease.message.payload for lease in desk.broker.inner.claim(["q"], 2, owner="a", lease_for=9).leases
    ]
    assert sorted(payloads, key=len) == [b"another", call("release", "1 release").payload]


def test_a_plain_batch_takes_one_call(desk: Desk) -> None:
    desk.finish("done", "done", "done")
    desk.settler.settle()
    assert desk.broker.calls == ["ack"]


def test_a_claim_settles_the_batch_before_in_the_same_call(desk: Desk) -> None:
    desk.finish("done", "done")
    desk.broker.inner.send([call("done", "next")])
    [lease] = desk.settler.claim(["q"], 5, "me", 60)
    assert desk.broker.calls == ["claim"]
    assert (desk.stats.leased, lease.owner) == (1, "me")
    assert desk.journaled == {}


def test_results_are_stored_before_anything_is_settled(desk: Desk) -> None:
    when_stored: list[tuple[list[str], QueueStats]] = []
    flush = desk.executor.flush

    def watched() -> None:
        flush()
        when_stored.append((list(desk.executor.stored), desk.stats))

    desk.executor.flush = watched  # type: ignore[method-assign]
    desk.finish("done", "bury", result_ignored=False)
    desk.settler.settle()
    [(stored, stats)] = when_stored
    assert stored == ["0 done", "1 bury"]
    assert stats == QueueStats(leased=2)
    assert desk.stats == QueueStats(dead=1)


def test_once_stored_a_shards_death_repeats_nothing(desk: Desk) -> None:
    """Between storing and acking, the journal already tells the supervisor that it has finished."""
    [finished] = desk.finish("done", result_ignored=False)
    assert desk.journaled == {finished.lease.id: False}
    desk.broker.away = True
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    assert desk.executor.stored == ["0 done"]
    assert desk.journaled == {finished.lease.id: True}
    desk.broker.inner.evict(desk.journal.eviction("me", reason="it died"), max_deliveries=3)
    assert desk.stats == QueueStats()


def test_what_is_not_done_is_never_noted_as_finished(desk: Desk) -> None:
    desk.finish("delay", "bury", "release")
    desk.broker.away = True
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    assert list(desk.journaled.values()) == [False] * 3


@pytest.mark.parametrize("verb", ["settle", "claim"])
def test_while_the_broker_is_away_everything_is_kept(desk: Desk, verb: str) -> None:
    def settle() -> None:
        if verb == "settle":
            desk.settler.settle()
        else:
            desk.settler.claim(["q"], 0, "me", 60)

    desk.finish("done", "delay", "bury", "release")
    journaled = set(desk.journaled)
    desk.broker.away = True
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            settle()
        assert len(desk.settler) == 4
        assert set(desk.journaled) == journaled
        assert desk.stats == QueueStats(leased=4)
    desk.broker.away = False
    settle()
    assert desk.stats == QueueStats(ready=1, delayed=1, dead=1)
    assert (len(desk.settler), desk.journaled) == (0, {})


def test_while_results_cannot_be_stored_nothing_is_settled(desk: Desk) -> None:
    desk.finish("done", "bury", result_ignored=False)
    desk.executor.trouble = BrokerUnavailable("the result store does not answer")
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    assert desk.broker.calls == []
    assert (len(desk.settler), list(desk.journaled.values())) == (2, [False, False])
    desk.executor.trouble = None
    desk.settler.settle()
    assert desk.executor.stored == ["0 done", "1 bury"]
    assert desk.stats == QueueStats(dead=1)


def test_an_error_nobody_expected_keeps_everything_too(desk: Desk) -> None:
    """The thread that met it may die; the other one, or the supervisor, still finds the deliveries."""
    desk.finish("done", "done", result_ignored=False)
    desk.executor.trouble = ValueError("the result store is corrupt")
    with pytest.raises(ValueError, match="corrupt"):
        desk.settler.settle()
    assert len(desk.settler) == 2
    desk.executor.trouble = None
    desk.settler.settle()
    assert desk.stats == QueueStats()


@pytest.mark.parametrize("way", ["refuse", "mute"])
@pytest.mark.parametrize("verb", ["delay", "bury", "release", "ack"])
def test_a_failure_between_verbs_loses_and_repeats_nothing(desk: Desk, verb: str, way: str) -> None:
    desk.finish("release", "done", "bury", "delay", "done", "bury", "delay", "release")
    getattr(desk.broker, way)[verb] = 1
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    # What earlier verbs have settled is forgotten; the rest is kept.
    settled_before = {"delay": 0, "bury": 2, "release": 4, "ack": 6}[verb]
    assert len(desk.settler) == len(desk.journaled) == 8 - settled_before
    desk.settler.settle()
    assert desk.stats == QueueStats(ready=2, delayed=2, dead=2)
    assert (len(desk.settler), desk.journaled) == (0, {})


def test_what_finished_meanwhile_comes_after_what_was_kept(desk: Desk) -> None:
    desk.finish("done", "done")
    desk.broker.away = True
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    desk.finish("done")
    acked: list[str] = []
    ack = desk.broker.inner.ack

    def noting(leases: Sequence[Lease]) -> Sequence[Lease]:
        acked.extend(lease.id for lease in leases)
        return ack(leases)

    desk.broker.inner.ack = noting  # type: ignore[method-assign]
    desk.broker.away = False
    desk.settler.settle()
    assert acked == sorted(acked, key=int)
    assert len(acked) == 3


@pytest.mark.parametrize("name", AT_ONCE)
@pytest.mark.parametrize("verb", ["settle", "claim"])
def test_a_lease_taken_back_before_is_told_and_changes_nothing(desk: Desk, name: str, verb: str) -> None:
    [finished] = desk.finish(name)
    desk.broker.inner.evict(Eviction(owner="me"), max_deliveries=3)
    if verb == "settle":
        desk.settler.settle()
    else:
        desk.settler.claim(["q"], 0, "me", 60)
    assert desk.lost == [LeaseLost(lease=finished.lease.id, queue="q")]
    assert desk.buried == []  # it waits to be run again; nobody has buried it
    assert desk.stats == QueueStats(ready=1)
    assert (len(desk.settler), desk.journaled) == (0, {})


@pytest.mark.parametrize("verb", ["settle", "claim"])
def test_what_a_call_without_an_answer_may_have_settled_is_not_said_to_be_taken_back(
    desk: Desk, verb: str
) -> None:
    settle = desk.settler.settle if verb == "settle" else partial(desk.settler.claim, ["q"], 0, "me", 60)
    [finished] = desk.finish("done")
    desk.broker.mute["ack" if verb == "settle" else "claim"] = 1
    with pytest.raises(BrokerUnavailable):
        settle()
    assert desk.stats == QueueStats()  # it was settled, which nobody knows
    settle()
    assert desk.lost == [LeaseLost(lease=finished.lease.id, queue="q", unsure=True)]
    [later] = desk.finish("done")
    desk.broker.inner.evict(Eviction(owner="me"), max_deliveries=3)
    settle()
    assert desk.lost[1:] == [LeaseLost(lease=later.lease.id, queue="q")]


def test_who_could_not_store_a_result_has_settled_nothing(desk: Desk) -> None:
    [finished] = desk.finish("done")
    desk.executor.trouble = BrokerUnavailable("the store is away")
    with pytest.raises(BrokerUnavailable):
        desk.settler.settle()
    desk.executor.trouble = None
    desk.broker.inner.evict(Eviction(owner="me"), max_deliveries=3)
    desk.settler.settle()
    assert desk.lost == [LeaseLost(lease=finished.lease.id, queue="q")]


def test_settling_is_due_some_time_after_the_last(desk: Desk) -> None:
    desk.finish("done")
    before = time.monotonic()
    desk.settler.settle()
    assert before + 0.02 <= desk.settler.due <= time.monotonic() + 0.02


@given(st.lists(st.sampled_from(AT_ONCE), max_size=12), st.lists(st.sampled_from(["refuse", "mute"])))
def test_any_mixture_is_settled_once_whatever_fails(names: list[str], failures: list[str]) -> None:
    desk = Desk()
    desk.finish(*names, result_ignored=False)
    verbs = ["delay", "bury", "release", "ack"]
    for number, way in enumerate(failures):
        getattr(desk.broker, way)[verbs[number % 4]] = number % 3
    for _ in range(40):
        try:
            desk.settler.settle()
        except BrokerUnavailable:
            continue
        break
    expected = {"ready": "release", "delayed": "delay", "dead": "bury"}
    assert desk.stats == QueueStats(**{state: names.count(name) for state, name in expected.items()})
    assert sorted(desk.executor.stored) == sorted(f"{n} {name}" for n, name in enumerate(names))
    assert (len(desk.settler), desk.journaled) == (0, {})
    desk.journal.close()
