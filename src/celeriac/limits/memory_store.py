"""Locks and gates in the memory of one process, for tests: the shortest complete reading of the contract."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import Lock as Mutex

import msgspec

from celeriac.limits.gate import CELLS, FORGET_AFTER, Facts, Gate, Verdict, cell_leaves, cell_of, judge, learn
from celeriac.limits.store import Lock

__all__ = ["MemoryStore"]


class _Place(msgspec.Struct):
    """Of one who runs: since when, and until when unless renewed."""

    since: float
    deadline: float


class _Waiting(msgspec.Struct):
    """Of one who stands in the line: since when, and when it will ask again."""

    since: int
    due: float


class _State(msgspec.Struct):
    cells: defaultdict[int, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    held: dict[str, _Place] = {}
    line: dict[str, _Waiting] = {}
    typical: float | None = None


class MemoryStore:
    """Keeps everything as long as it lives; its threads may share it. ``clock`` returns Unix seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Mutex()
        self._locks: dict[str, tuple[str, float]] = {}
        self._gates: defaultdict[str, _State] = defaultdict(_State)
        self._places = 0

    def lock(self, locks: Sequence[Lock], now: float | None = None) -> list[str]:
        with self._lock:
            now = self._clock() if now is None else now
            return [self._hold(lock, now) for lock in locks]

    def extend(self, locks: Sequence[Lock], now: float | None = None) -> list[bool]:
        with self._lock:
            now = self._clock() if now is None else now
            held = [self._locks.get(lock.key, ("", now)) for lock in locks]
            extended = [
                present == lock.holder and until > now
                for lock, (present, until) in zip(locks, held, strict=True)
            ]
            for lock, did in zip(locks, extended, strict=True):
                if did:
                    self._locks[lock.key] = (lock.holder, now + lock.seconds)
            return extended

    def unlock(self, locks: Sequence[Lock]) -> list[bool]:
        with self._lock:
            return [self._let_go(lock) for lock in locks]

    def enter(
        self, gates: Sequence[Gate], task_id: str, *, chance: float, now: float | None = None
    ) -> float | None:
        with self._lock:
            now = self._clock() if now is None else now
            verdicts = [judge(gate, self._facts(gate, task_id, now), now, chance) for gate in gates]
            if all(verdict.passes for verdict in verdicts):
                for gate in gates:
                    self._pass(gate, task_id, now)
                return None
            due = max(verdict.due for verdict in verdicts)
            for gate, verdict in zip(gates, verdicts, strict=True):
                self._wait(gate, verdict, task_id, due)
            return due

    def renew(self, keys: Sequence[str], task_id: str, seconds: float, now: float | None = None) -> None:
        with self._lock:
            now = self._clock() if now is None else now
            for key in keys:
                place = self._gates[key].held.setdefault(task_id, _Place(now, now))
                place.deadline = now + seconds

    def leave(self, keys: Sequence[str], task_id: str, now: float | None = None) -> None:
        with self._lock:
            now = self._clock() if now is None else now
            for key in keys:
                state = self._gates[key]
                if place := state.held.pop(task_id, None):
                    state.typical = learn(state.typical, max(now - place.since, 0.0))

    def close(self) -> None:
        """Nothing is held that would have to be let go of."""

    def _hold(self, lock: Lock, now: float) -> str:
        present, until = self._locks.get(lock.key, (lock.holder, now))
        if until > now and present != lock.holder:
            return present
        self._locks[lock.key] = (lock.holder, now + lock.seconds)
        return lock.holder

    def _let_go(self, lock: Lock) -> bool:
        if self._locks.get(lock.key, ("", 0.0))[0] != lock.holder:
            return False
        del self._locks[lock.key]
        return True

    def _facts(self, gate: Gate, task_id: str, now: float) -> Facts:
        state = self._gates[gate.key]
        state.line = {id_: one for id_, one in state.line.items() if one.due > now - FORGET_AFTER}
        waiting = state.line.get(task_id)
        others = [one for id_, one in state.line.items() if id_ != task_id]
        if gate.window is not None:
            oldest = cell_of(now, gate.window) - CELLS
            for cell in [cell for cell in state.cells if cell < oldest]:
                del state.cells[cell]
            used = sum(state.cells.values())
            next_free = cell_leaves(min(state.cells), gate.window) if state.cells else None
        else:
            state.held = {id_: place for id_, place in state.held.items() if place.deadline > now}
            used, next_free = len(state.held.keys() - {task_id}), None
        return Facts(
            used=used,
            next_free=next_free,
            typical=state.typical,
            waits=waiting is not None or task_id in state.held,
            rank=sum(1 for one in others if waiting is None or one.since < waiting.since),
            overdue=sum(1 for one in others if one.due <= now),
        )

    def _pass(self, gate: Gate, task_id: str, now: float) -> None:
        state = self._gates[gate.key]
        state.line.pop(task_id, None)
        if gate.window is not None:
            state.cells[cell_of(now, gate.window)] += 1
        else:
            place = state.held.setdefault(task_id, _Place(now, now))
            place.deadline = now + gate.lease

    def _wait(self, gate: Gate, verdict: Verdict, task_id: str, due: float) -> None:
        line = self._gates[gate.key].line
        if task_id in line:
            line[task_id].due = due
        elif not verdict.passes:
            self._places += 1
            line[task_id] = _Waiting(self._places, due)
