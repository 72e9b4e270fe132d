"""What the ledger says: lost, repeated beyond the contract, stuck, unexpected."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from celeriac.core.lease import DeadLetter

__all__ = ["Affected", "Verdict", "judge"]

_ALWAYS = float("inf")


class Affected(msgspec.Struct, frozen=True):
    """A fault's excuse for repeats of what one process had started."""

    pid: int
    #: Unix seconds.
    since: float = -_ALWAYS
    until: float = _ALWAYS
    #: Its whole node was cut off, so that even what must not start twice may.
    node: bool = False


class Verdict(msgspec.Struct):
    """Counts of messages, and the keys of those for which a promise was broken."""

    accepted: int = 0
    done: int = 0
    dead: int = 0
    #: Started more than once with a fault that explains it.
    repeated: int = 0
    lost: list[str] = []
    beyond: list[str] = []
    stuck: list[str] = []
    unexpected: list[str] = []

    @property
    def broken(self) -> list[str]:
        """Everything that must not be, in words."""
        named = (("lost", self.lost), ("repeated beyond the contract", self.beyond), ("stuck", self.stuck))
        found = [f"{what}: {key}" for what, keys in named for key in keys]
        return found + [f"unexpected: {what}" for what in self.unexpected]


def judge(ledger: Path, affected: Iterable[Affected], letters: dict[str, DeadLetter]) -> Verdict:
    """Return the verdict on everything in the ledger; ``letters`` are the dead ones by key."""
    entries = _read(ledger)
    by_pid: defaultdict[int, list[Affected]] = defaultdict(list)
    for one in affected:
        by_pid[one.pid].append(one)
    verdict = Verdict(dead=len(letters))
    for key, rows in entries.items():
        whats = [what for what, _, _ in rows]
        verdict.accepted += "accepted" in whats
        verdict.done += "done" in whats
        early = key.startswith("early")
        if "accepted" in whats and "done" not in whats and key not in letters:
            verdict.lost.append(key)
        starts = [(pid, at) for what, pid, at in rows if what == "started"]
        if len(starts) > 1:
            excused = sum(_is_excused(pid, at, by_pid, early=early) for pid, at in starts)
            verdict.repeated += 1
            if len(starts) - excused > _messages(key, entries):
                verdict.beyond.append(f"{key}, started {len(starts)} times, {excused} explained")
        if key in letters:
            _judge_letter(key, letters[key], starts, by_pid, verdict)
    verdict.unexpected += [f"a dead letter of nobody: {key}" for key in letters.keys() - entries.keys()]
    return verdict


def _messages(key: str, entries: dict[str, list[tuple[str, int, float]]]) -> int:
    """How many messages of this key there may be: a first attempt that is repeated retries anew."""
    first = entries.get(key.removesuffix(" again"), []) if key.endswith(" again") else []
    return max(1, sum(what == "started" for what, _, _ in first))


def _is_excused(pid: int, at: float, affected: dict[int, list[Affected]], *, early: bool) -> bool:
    return any(one.since <= at <= one.until and (one.node or not early) for one in affected.get(pid, ()))


def _judge_letter(
    key: str,
    letter: DeadLetter,
    starts: list[tuple[int, float]],
    affected: dict[int, list[Affected]],
    verdict: Verdict,
) -> None:
    """Only what must not start twice may be dead, and only if the process that had started it died."""
    killed = any(affected.get(pid) for pid, _ in starts)
    # A process may die between its note in the journal and its first row in the ledger.
    if not key.startswith("early") or "must not start twice" not in letter.reason or (starts and not killed):
        verdict.unexpected.append(f"{key} is dead: {letter.reason}")


def _read(ledger: Path) -> dict[str, list[tuple[str, int, float]]]:
    connection = sqlite3.connect(ledger, timeout=30)
    try:
        entries: defaultdict[str, list[tuple[str, int, float]]] = defaultdict(list)
        for key, what, pid, at in connection.execute("SELECT key, what, pid, at FROM entries ORDER BY rowid"):
            entries[key].append((what, pid, at))
        return entries
    finally:
        connection.close()
