"""What every store of locks and gates promises, as one test class that each is put through."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, pairwise

import pytest

from celeriac.core.errors import BrokerUnavailable
from celeriac.limits.gate import Gate
from celeriac.limits.memory_store import MemoryStore
from celeriac.limits.store import LimitStore, Lock

#: A time at which nothing has happened yet; moved by arguments, so that no test waits.
START = 1_000_000.0
_names = count()


def fresh(name: str) -> str:
    return f"{name} {next(_names)}"


def slots(limit: int, key: str | None = None, lease: float = 10.0) -> Gate:
    return Gate(key or fresh("slots"), limit, lease=lease)


def rate(limit: int, window: float, key: str | None = None) -> Gate:
    return Gate(key or fresh("rate"), limit, window)


def enter(
    store: LimitStore, task: str, *gates: Gate, now: float = START, chance: float = 0.0
) -> float | None:
    return store.enter(gates, task, chance=chance, now=now)


def lock(store: LimitStore, key: str, holder: str, seconds: float, now: float | None = None) -> str:
    [present] = store.lock([Lock(key, holder, seconds)], now)
    return present


def extend(store: LimitStore, key: str, holder: str, seconds: float, now: float | None = None) -> bool:
    [did] = store.extend([Lock(key, holder, seconds)], now)
    return did


def unlock(store: LimitStore, key: str, holder: str) -> bool:
    [did] = store.unlock([Lock(key, holder)])
    return did


class LimitStoreContract:
    """A subclass opens the store under test."""

    @pytest.fixture
    def store(self) -> Iterator[LimitStore]:
        raise NotImplementedError

    def reopen(self) -> LimitStore | None:
        """Return a second instance on the same store, or None if there is no such thing."""
        return None

    def unreachable(self) -> LimitStore | None:
        return None

    # -- Locks

    def test_the_first_holds_until_it_gives_up(self, store: LimitStore) -> None:
        key = fresh("lock")
        assert lock(store, key, "a", 10, START) == "a"
        assert lock(store, key, "b", 10, START + 1) == "a"
        assert not unlock(store, key, "b")
        assert unlock(store, key, "a")
        assert not unlock(store, key, "a")
        assert lock(store, key, "b", 10, START + 1) == "b"

    def test_a_lock_ends_with_its_time(self, store: LimitStore) -> None:
        key = fresh("lock")
        lock(store, key, "a", 10, START)
        assert lock(store, key, "b", 10, START + 9.9) == "a"
        assert lock(store, key, "b", 10, START + 10) == "b"
        assert not unlock(store, key, "a")

    def test_its_holder_may_lock_again_and_so_prolongs_it(self, store: LimitStore) -> None:
        key = fresh("lock")
        lock(store, key, "a", 10, START)
        assert lock(store, key, "a", 10, START + 5) == "a"
        assert lock(store, key, "b", 10, START + 14) == "a"

    def test_only_a_lock_that_is_held_is_extended(self, store: LimitStore) -> None:
        key = fresh("lock")
        assert not extend(store, key, "a", 10, START)
        lock(store, key, "a", 10, START)
        assert not extend(store, key, "b", 100, START)
        assert extend(store, key, "a", 100, START + 5)
        assert lock(store, key, "b", 10, START + 104) == "a"
        assert not extend(store, key, "a", 100, START + 105)
        unlock(store, key, "a")
        assert not extend(store, key, "a", 100, START + 5)
        assert lock(store, key, "b", 10, START + 5) == "b"

    def test_many_are_asked_for_at_once_and_the_first_of_two_gets_it(self, store: LimitStore) -> None:
        taken, mine, short = fresh("lock"), fresh("lock"), fresh("lock")
        lock(store, taken, "other", 100, START)
        wanted = [Lock(mine, "a", 10), Lock(taken, "b", 10), Lock(mine, "c", 10), Lock(short, "d", 1)]
        assert store.lock(wanted, START) == ["a", "other", "a", "d"]
        assert store.extend([*wanted, Lock(fresh("lock"), "nobody", 10)], START + 5) == [
            *(True, False, False, False, False)
        ]
        assert lock(store, mine, "z", 10, START + 14) == "a"
        assert store.unlock(wanted[:3]) == [True, False, False]
        assert lock(store, taken, "z", 10, START + 14) == "other"
        assert store.lock([], START) == store.extend([], START) == store.unlock([]) == []
        many = [Lock(fresh("lock"), f"{number}", 60) for number in range(1000)]
        assert store.lock(many) == [one.holder for one in many]
        assert all(store.unlock(many))

    def test_of_many_at_once_one_gets_the_lock(self, store: LimitStore) -> None:
        key = fresh("lock")
        with ThreadPoolExecutor(8) as threads:
            holders = list(threads.map(lambda n: lock(store, key, f"{n}", 60), range(40)))
        assert len(set(holders)) == 1

    # -- What runs at the same time

    def test_no_more_run_than_may(self, store: LimitStore) -> None:
        gate = slots(2)
        assert enter(store, "a", gate) is None
        assert enter(store, "b", gate) is None
        due = enter(store, "c", gate)
        assert due is not None
        assert due > START
        store.leave([gate.key], "a", START)
        assert enter(store, "c", gate, now=due) is None
        assert enter(store, "d", gate, now=due) is not None

    def test_keys_have_limits_of_their_own(self, store: LimitStore) -> None:
        assert enter(store, "a", slots(1)) is None
        assert enter(store, "b", slots(1)) is None

    def test_who_holds_a_place_passes_with_it(self, store: LimitStore) -> None:
        gate = slots(1)
        assert enter(store, "a", gate) is None
        assert enter(store, "a", gate, now=START + 1) is None
        assert enter(store, "b", gate, now=START + 1) is not None

    def test_a_place_that_is_not_renewed_is_free_again(self, store: LimitStore) -> None:
        gate = slots(1, lease=10)
        enter(store, "a", gate)
        assert enter(store, "b", gate, now=START + 9.9) is not None
        assert enter(store, "b", gate, now=START + 10) is None

    def test_a_renewed_place_is_kept_and_a_lost_one_counts_again(self, store: LimitStore) -> None:
        gate = slots(1, lease=10)
        enter(store, "a", gate)
        store.renew([gate.key], "a", 10, START + 9)
        assert enter(store, "b", gate, now=START + 18) is not None
        assert enter(store, "b", gate, now=START + 20) is None
        store.renew([gate.key], "a", 10, START + 21)
        store.leave([gate.key], "b", START + 21)
        assert enter(store, "c", gate, now=START + 22) is not None

    def test_to_leave_twice_or_without_a_place_changes_nothing(self, store: LimitStore) -> None:
        gate = slots(1)
        store.leave([gate.key], "a", START)
        enter(store, "a", gate)
        store.leave([gate.key], "a", START)
        store.leave([gate.key], "a", START)
        assert enter(store, "b", gate) is None
        assert enter(store, "c", gate) is not None

    def test_who_waits_is_told_by_how_long_tasks_run_and_by_its_place(self, store: LimitStore) -> None:
        gate = slots(1, lease=1000)
        for number in range(3):
            enter(store, f"{number}", gate)
            store.leave([gate.key], f"{number}", START + 0.4)
        enter(store, "runs", gate)
        dues = [enter(store, f"waits {number}", gate) for number in range(3)]
        assert dues == pytest.approx([START + 0.4, START + 0.8, START + 1.1 / 2], abs=0.01)

    def test_newcomers_do_not_pass_those_who_are_about_to_come(self, store: LimitStore) -> None:
        gate = slots(1)
        enter(store, "a", gate)
        due = enter(store, "b", gate)
        store.leave([gate.key], "a", START)
        assert enter(store, "new", gate, now=due + 0.1) is not None
        assert enter(store, "b", gate, now=due + 0.1) is None

    def test_who_does_not_come_back_blocks_nobody(self, store: LimitStore) -> None:
        gate = slots(1)
        enter(store, "a", gate)
        due = enter(store, "never back", gate)
        store.leave([gate.key], "a", START)
        later = enter(store, "new", gate, now=due + 0.1)
        assert enter(store, "new", gate, now=later) is None

    # -- What starts in a window of time

    def test_no_window_holds_more_starts_than_it_may(self, store: LimitStore) -> None:
        gate = rate(5, 10.0)
        assert [enter(store, f"{n}", gate, now=START + n / 10) for n in range(5)] == [None] * 5
        due = enter(store, "late", gate, now=START + 1)
        assert due == pytest.approx(START + 10.1, abs=0.11)
        assert enter(store, "late", gate, now=START + 9.99) is not None
        assert enter(store, "late", gate, now=START + 10.2) is None

    def test_those_who_wait_get_turns_one_after_the_other(self, store: LimitStore) -> None:
        gate = rate(2, 1.0)
        enter(store, "a", gate)
        enter(store, "b", gate)
        dues = [enter(store, f"waits {n}", gate) for n in range(4)]
        assert [late - early for early, late in pairwise(dues)] == pytest.approx([0.5] * 3)

    @pytest.mark.parametrize(("limit", "window"), [(1, 1.0), (7, 1.0), (20, 3.0), (300, 60.0)])
    def test_no_window_ever_holds_too_many_and_nearly_all_of_it_is_used(
        self, store: LimitStore, limit: int, window: float
    ) -> None:
        gate, chance, now = rate(limit, window), random.Random(limit), START
        waiting = {f"{n}": START for n in range(4 * limit)}
        starts: list[float] = []
        while waiting:
            task = min(waiting, key=waiting.__getitem__)
            now = max(now, waiting[task])
            due = enter(store, task, gate, now=now, chance=chance.random())
            if due is None:
                starts.append(now)
                del waiting[task]
            else:
                waiting[task] = due + chance.random() * window / limit
        for number, start in enumerate(starts[limit:]):
            assert start - starts[number] >= window
        assert starts[-1] - starts[0] < 5 * window + 5

    # -- Both

    def test_all_gates_are_passed_or_none(self, store: LimitStore) -> None:
        one, many = slots(1), rate(2, 10.0)
        assert enter(store, "a", one, many) is None
        for _ in range(5):
            assert enter(store, "b", one, many) is not None
        store.leave([one.key], "a", START)
        assert enter(store, "b", one, many) is None
        store.leave([one.key], "b", START)
        assert enter(store, "c", one, many) is not None
        assert enter(store, "d", one, now=START + 60) is None

    @pytest.mark.parametrize("seed", range(3))
    def test_it_decides_as_the_store_in_memory_does(self, store: LimitStore, seed: int) -> None:
        chance, model, now = random.Random(seed), MemoryStore(), START
        gates = [slots(3, lease=4.0), slots(1, lease=4.0), rate(4, 2.0)]
        for _ in range(400):
            now += chance.random() * 0.4
            task, chosen = f"{chance.randrange(12)}", chance.sample(gates, chance.randint(1, 2))
            keys = [gate.key for gate in chosen if gate.window is None]
            verb, spread = chance.choice(["enter", "enter", "leave", "renew"]), chance.random()
            answers = []
            for one in (store, model):
                if verb == "enter":
                    answers.append(one.enter(chosen, task, chance=spread, now=now))
                elif verb == "leave":
                    answers.append(one.leave(keys, task, now))
                else:
                    answers.append(one.renew(keys, task, 4.0, now))
            assert answers[0] == pytest.approx(answers[1], abs=1e-4), (verb, now)

    # -- Several instances, and none

    def test_instances_share_what_they_know(self, store: LimitStore) -> None:
        other = self.reopen()
        if other is None:
            pytest.skip("it belongs to one process")
        gate, key = slots(1), fresh("lock")
        with closing(other):
            assert lock(store, key, "a", 60) == "a"
            assert lock(other, key, "b", 60) == "a"
            assert store.enter([gate], "a", chance=0) is None
            assert other.enter([gate], "b", chance=0) is not None

    def test_what_a_killed_process_held_is_free_when_its_lease_ends(self, store: LimitStore) -> None:
        if self.reopen() is None:
            pytest.skip("it belongs to one process")
        gate, key = slots(1, lease=1.0), fresh("lock")
        store.close()
        child = os.fork()
        if child == 0:
            try:
                with closing(self.reopen()) as mine:
                    lock(mine, key, "killed", 1.0)
                    mine.enter([gate], "killed", chance=0)
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert lock(store, key, "mine", 1.0) == "killed"
        assert store.enter([gate], "mine", chance=0) is not None
        gone = time.time() + 1.1
        assert store.enter([gate], "mine", chance=0, now=gone) is None
        assert lock(store, key, "mine", 1.0, gone) == "mine"

    def test_an_instance_goes_on_in_a_forked_child(self, store: LimitStore) -> None:
        if self.reopen() is None:
            pytest.skip("it belongs to one process")
        key = fresh("lock")
        lock(store, key, "parent", 60)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if lock(store, key, "child", 60) == "parent" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert unlock(store, key, "parent")

    def test_a_store_that_cannot_be_reached_says_so(self) -> None:
        store = self.unreachable()
        if store is None:
            pytest.skip("it is always there")
        with pytest.raises(BrokerUnavailable):
            lock(store, "key", "me", 1)
        with pytest.raises(BrokerUnavailable):
            store.enter([slots(1)], "me", chance=0)
        store.close()
