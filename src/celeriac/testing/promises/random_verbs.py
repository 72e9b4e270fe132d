"""Random verbs against a model small enough to be seen to be right: no message is lost or doubled."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import DeadLetter, Eviction, Lease, Reaped
from celeriac.testing.envelope import message, name_of
from celeriac.testing.promises.case import LONG, BrokerCase, names

__all__ = ["RandomVerbs"]

MAX_DELIVERIES = 3
OWNERS = ("one", "two", "three")
PRIORITIES = (0, 3, 9)

#: Leases by owner and id.
Leases = set[tuple[str, str]]

NEVER_LEASED = Lease("", "", message("", ""))

_runs = count(1)


def key(lease: Lease) -> tuple[str, str]:
    """Lease ids are unique among those of one owner only."""
    return lease.owner, lease.id


class RandomVerbs(BrokerCase):
    """Any sequence of verbs does what the model of it does."""

    def test_random_verbs_leave_each_message_in_exactly_one_state(self, broker: Broker) -> None:
        class OnThisBroker(Model):
            def __init__(self) -> None:
                super().__init__(broker)

        run_state_machine_as_test(
            OnThisBroker,
            settings=settings(
                max_examples=50,
                stateful_step_count=60,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                # Finding the shortest sequence that fails takes minutes on a real store.
                phases=[Phase.generate],
            ),
        )


@dataclass
class Entry:
    """What the model knows of one message."""

    name: str
    queue: str
    priority: int
    state: str = "ready"
    deliveries: int = 1
    #: Its place in line; those that came back from a lease stand before all others, in any order.
    line: int = 0
    returned: bool = False
    #: Its lease if it is leased, else the last it had.
    lease: Lease = NEVER_LEASED
    due: float = 0.0


class Model(RuleBasedStateMachine):
    """Runs each verb on the broker and on a dictionary, and compares the outcomes.

    One broker serves all runs, so each run has queues of its own and cleans up behind itself.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self.broker = broker
        run = next(_runs)
        self.queues = [f"run {run} {name}" for name in ("a", "b")]
        self.owners = [f"{name} of run {run}" for name in OWNERS]
        self.numbers = count(1)
        self.entries: dict[str, Entry] = {}
        self.old_leases: list[Lease] = []
        #: By owner: how many LONG from now its deadline is.
        self.deadlines: dict[str, int] = {}
        self.start = time.time() + 100 * LONG

    # -- Verbs

    @initialize(priority=st.sampled_from(PRIORITIES))
    def begin_with_some_messages(self, priority: int) -> None:
        self._send(0, priority, 9)

    @precondition(lambda self: len(self._in_state("ready")) < 9)
    @rule(queue=st.integers(0, 1), priority=st.sampled_from(PRIORITIES), n=st.integers(1, 5))
    def send(self, queue: int, priority: int, n: int) -> None:
        self._send(queue, priority, n)

    def _send(self, queue: int, priority: int, n: int) -> None:
        priority = priority if self.broker.features.priorities else 0
        new = [Entry(f"{next(self.numbers)}", self.queues[queue], priority) for _ in range(n)]
        self.broker.send([message(entry.name, entry.queue, priority=entry.priority) for entry in new])
        for entry in new:
            self.entries[entry.name] = entry
            self._line_up(entry)

    @precondition(lambda self: self._in_state("ready"))
    @rule(owner=st.integers(0, 2), n=st.integers(1, 6), reverse=st.booleans(), data=st.data())
    def claim(self, owner: int, n: int, reverse: bool, data: st.DataObject) -> None:
        queues = self.queues[::-1] if reverse else self.queues
        ack = self._draw_leases(data)
        claimed = self.broker.claim(queues, n, owner=self.owners[owner], lease_for=LONG, ack=ack)
        self._settled(ack, claimed.lost, "done")
        self.deadlines[self.owners[owner]] = 1
        for lease in claimed.leases:
            entry = self.entries[name_of(lease.message.payload)]
            assert entry in self._next_in_line(queues)
            assert (lease.owner, lease.deliveries) == (self.owners[owner], entry.deliveries)
            entry.state, entry.lease = "leased", lease
        suspects = [lease.deliveries > 1 for lease in claimed.leases]
        assert not any(suspects[:-1])
        assert any(suspects) or len(suspects) == n or not self._next_in_line(queues)

    @precondition(lambda self: self._in_state("leased"))
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        leases = self._draw_leases(data)
        self._settled(leases, self.broker.ack(leases), "done")

    @precondition(lambda self: self._in_state("leased"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        leases = self._draw_leases(data)
        for entry in self._settled(leases, self.broker.release(leases), "ready"):
            entry.returned = True

    @precondition(lambda self: self._in_state("leased"))
    @rule(data=st.data())
    def delay(self, data: st.DataObject) -> None:
        leases = [
            (lease, self.start + data.draw(st.integers(0, 9)) + next(self.numbers) / 1000)
            for lease in self._draw_leases(data)
        ]
        lost = self.broker.delay(leases)
        dues = {key(lease): due for lease, due in leases}
        for entry in self._settled([lease for lease, _ in leases], lost, "delayed"):
            entry.due = dues[key(entry.lease)]

    @precondition(lambda self: self._in_state("leased"))
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        leases = self._draw_leases(data)
        self._settled(leases, self.broker.bury([(lease, "a reason") for lease in leases]), "dead")

    @precondition(lambda self: self._in_state("delayed"))
    @rule(seconds=st.integers(3, 10), limit=st.integers(1, 4))
    def promote_due(self, seconds: int, limit: int) -> None:
        promoted = self.broker.promote_due(self.start + seconds, limit)
        delayed = sorted(self._in_state("delayed"), key=lambda entry: entry.due)
        due = [entry for entry in delayed if entry.due <= self.start + seconds][:limit]
        for entry in due:
            self._line_up(entry)
        assert promoted.count == len(due)
        assert (promoted.next_due is None) == (len(due) == len(delayed))

    @precondition(lambda self: self._in_state("dead"))
    @rule(data=st.data())
    def retry_dead(self, data: st.DataObject) -> None:
        for name, letter in self._draw_letter(data):
            assert self.broker.retry_dead([letter.id]) == 1
            self.entries[name].deliveries = 1
            self._line_up(self.entries[name])

    @precondition(lambda self: self._in_state("dead"))
    @rule(data=st.data())
    def drop_dead(self, data: st.DataObject) -> None:
        for name, letter in self._draw_letter(data):
            assert self.broker.drop_dead([letter.id]) == 1
            del self.entries[name]

    @rule(owner=st.integers(0, 2))
    def renew(self, owner: int) -> None:
        self.broker.renew([self.owners[owner]], 5 * LONG)
        if self.owners[owner] in self.deadlines:
            self.deadlines[self.owners[owner]] = 5

    @precondition(lambda self: self._in_state("leased"))
    @rule(deadline=st.sampled_from([1, 5, 0]))
    def reap(self, deadline: int) -> None:
        reaped = self.broker.reap(time.time() + (deadline + 0.5) * LONG, max_deliveries=MAX_DELIVERIES)
        overdue = [owner for owner, at in self.deadlines.items() if at <= deadline]
        leases = [entry.lease for entry in self._in_state("leased")]
        taken = {key(lease) for lease in leases if lease.owner in overdue}
        self._taken_back(reaped, overdue, taken, set(), set())

    @precondition(lambda self: self._in_state("leased"))
    @rule(owner=st.integers(0, 2), data=st.data())
    def evict(self, owner: int, data: st.DataObject) -> None:
        name = self.owners[owner]
        ids = [e.lease.id for e in self._in_state("leased") if e.lease.owner == name]
        kinds = {id_: data.draw(st.sampled_from(["finished", "interrupted", "forfeited", ""])) for id_ in ids}
        by_kind = {kind: {id_ for id_ in ids if kinds[id_] == kind} for kind in kinds.values()}
        finished, interrupted, forfeited = (
            by_kind.get(kind, set[str]()) for kind in ("finished", "interrupted", "forfeited")
        )
        eviction = Eviction(
            owner=name,
            finished=frozenset(finished),
            interrupted=frozenset(interrupted),
            forfeited=dict.fromkeys(forfeited, "must not run twice"),
        )
        reaped = self.broker.evict(eviction, max_deliveries=MAX_DELIVERIES)
        groups = ({(name, id_) for id_ in group} for group in (interrupted, finished, forfeited))
        self._taken_back(reaped, [name], *groups)

    @precondition(lambda self: len(self._in_state("ready", "delayed")) > 15)
    @rule(queue=st.integers(0, 1))
    def purge(self, queue: int) -> None:
        dropped = [e for e in self._in_state("ready", "delayed") if e.queue == self.queues[queue]]
        assert self.broker.purge([self.queues[queue]]) == len(dropped)
        for entry in dropped:
            del self.entries[entry.name]

    @precondition(lambda self: len(self.old_leases) > 20)
    @rule()
    def run_everything_to_its_end(self) -> None:
        for owner in self.owners:
            self.broker.evict(Eviction(owner=owner), max_deliveries=MAX_DELIVERIES)
        self.broker.promote_due(self.start + 100)
        self.broker.retry_dead([letter.id for _, letter in self._letters()])
        done: list[str] = []
        for _ in range(2 * len(self.entries)):
            leases = self.broker.claim(self.queues, 9, owner=self.owners[0], lease_for=LONG).leases
            done += names(leases)
            assert not self.broker.ack(leases)
        assert sorted(done) == sorted(self.entries)
        self.entries.clear()
        self.deadlines = {self.owners[0]: 1} if done else {}

    @invariant()
    def broker_and_model_agree(self) -> None:
        states = {queue: Counter[str]() for queue in self.queues}
        for entry in self.entries.values():
            states[entry.queue][entry.state] += 1
        assert self.broker.stats(self.queues) == {q: QueueStats(**states[q]) for q in self.queues}
        scheduled = self.broker.scheduled(self.queues, limit=1000)
        assert [name_of(each.message.payload) for each in scheduled] == [
            entry.name for entry in sorted(self._in_state("delayed"), key=lambda entry: entry.due)
        ]
        assert {name: letter.deliveries for name, letter in self._letters()} == {
            entry.name: entry.deliveries for entry in self._in_state("dead")
        }

    def teardown(self) -> None:
        """Leave nothing behind for the runs that follow, whatever became of this one."""
        for owner in self.owners:
            self.broker.evict(Eviction(owner=owner), max_deliveries=MAX_DELIVERIES)
        self.broker.purge(self.queues)
        self.broker.drop_dead([letter.id for _, letter in self._letters()])

    # -- The model

    def _in_state(self, *states: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state in states]

    def _line_up(self, entry: Entry) -> None:
        entry.state, entry.line, entry.returned = "ready", next(self.numbers), False

    def _next_in_line(self, queues: Sequence[str]) -> list[Entry]:
        """The messages of which any may be claimed now."""
        ready = sorted(self._in_state("ready"), key=lambda e: (e.priority, queues.index(e.queue), e.line))
        if not ready:
            return []
        same = [e for e in ready if (e.priority, e.queue) == (ready[0].priority, ready[0].queue)]
        return [entry for entry in same if entry.returned] or same[:1]

    def _draw_leases(self, data: st.DataObject) -> list[Lease]:
        """Some leases, held or long lost."""
        known = [e.lease for e in self._in_state("leased")] + self.old_leases[-5:]
        return data.draw(st.lists(st.sampled_from(known), unique_by=id, max_size=6)) if known else []

    def _letters(self) -> list[tuple[str, DeadLetter]]:
        """The dead letters of this run, by name."""
        letters = self.broker.dead_letters(limit=1000)
        return sorted((name_of(x.message.payload), x) for x in letters if x.message.queue in self.queues)

    def _draw_letter(self, data: st.DataObject) -> list[tuple[str, DeadLetter]]:
        """One dead letter with its name, if there is any."""
        letters = dict(self._letters())
        return (
            [(name, letters[name]) for name in [data.draw(st.sampled_from(sorted(letters)))]]
            if letters
            else []
        )

    def _settled(self, leases: Iterable[Lease], lost: Iterable[Lease], state: str) -> list[Entry]:
        """Move the entries of the held leases to the state; check that the others are the lost ones."""
        given = {key(lease) for lease in leases}
        held = [entry for entry in self._in_state("leased") if key(entry.lease) in given]
        assert {key(lease) for lease in lost} == given - {key(entry.lease) for entry in held}
        for entry in held:
            self._end_lease(entry, state)
        return held

    def _end_lease(self, entry: Entry, state: str) -> None:
        self.old_leases.append(entry.lease)
        entry.state = state
        if state == "done":
            del self.entries[entry.name]

    def _taken_back(
        self, reaped: Reaped, owners: list[str], crashed: Leases, finished: Leases, forfeited: Leases
    ) -> None:
        """Do to the model what a reap or an eviction did."""
        returned, buried = 0, []
        for entry in [e for e in self._in_state("leased") if e.lease.owner in owners]:
            lease = key(entry.lease)
            poisoned = lease in crashed and entry.deliveries >= MAX_DELIVERIES
            if lease in finished:
                self._end_lease(entry, "done")
            elif lease in forfeited or poisoned:
                self._end_lease(entry, "dead")
                buried.append(entry.name)
            else:
                self._end_lease(entry, "ready")
                entry.returned = True
                entry.deliveries += lease in crashed
                returned += 1
        for owner in owners:
            self.deadlines.pop(owner, None)
        assert reaped.returned == returned
        assert sorted(name_of(letter.message.payload) for letter in reaped.buried) == sorted(buried)
