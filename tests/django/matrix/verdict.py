"""What the ledger and the database say after all has ended: lost, not once, orphans, inversions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.django.matrix.ledger import Entry

__all__ = ["BROKEN", "judge"]

#: What must not be.
BROKEN = ("lost", "not_once", "orphans", "inversions")
#: What is said of a call that has reached a worker.
_SEEN = frozenset({"received", "delivered", "started"})


def judge(entries: Iterable[Entry], found: Mapping[str, Any], steps: Mapping[int, str]) -> dict[str, Any]:
    """Return for each step what came of the orders of its runs; keys begin with their run's number.

    An order was committed exactly if its row is there. *lost*: committed, and without an effect; *not_once*:
    with more than one; *orphans*: received or with an effect, and not committed; *inversions*: first
    received from the broker before an earlier one of the same lane. *overtaken* is no fault: first
    run before an earlier one, as the worker died that had received that one.
    """
    reports: defaultdict[str, dict[str, Any]] = defaultdict(_new_report)
    for step in steps.values():
        reports[step]["runs"] += 1

    def of(key: str) -> dict[str, Any]:
        return reports[steps[int(key.partition("-")[0])]]

    entries = list(entries)
    committed = dict(found["orders"])
    said = Counter((entry.what, entry.key) for entry in entries)
    for key in committed:
        _judge_one(key, said, found["effects"].get(key, 0), of(key))
    seen = {key for what, key in said if what in _SEEN} | found["effects"].keys()
    for key in sorted(seen - committed.keys()):
        of(key)["orphans"].append(key)
    for key in sorted(key for what, key in said if what == "committed" and key not in committed):
        of(key)["lost"].append(f"{key}, of which even the row is gone")
    for key in _inverted(found["orders"], entries, {"received"}):
        of(key)["inversions"].append(key)
    for key in _inverted(found["orders"], entries, {"delivered", "started"}):
        of(key)["overtaken"] += 1
    for run, seconds in _recoveries(entries):
        reports[steps[run]]["recovered"].append(round(seconds, 3))
    return {step: _summary(report) for step, report in sorted(reports.items())}


def _judge_one(key: str, said: Mapping[tuple[str, str], int], effects: int, report: dict[str, Any]) -> None:
    """Add what became of one order that was committed."""
    report["committed"] += 1
    report["repeated"] += max(said["delivered", key], said["started", key]) > 1
    if not effects:
        report["lost"].append(key)
    elif effects > 1:
        report["not_once"].append(f"{key}: {effects}")


def _new_report() -> dict[str, Any]:
    lists: dict[str, Any] = {name: [] for name in (*BROKEN, "recovered")}
    return {"runs": 0, "committed": 0, "repeated": 0, "overtaken": 0, **lists}


def _inverted(orders: Iterable[Sequence[str]], entries: Sequence[Entry], what: set[str]) -> list[str]:
    """Return the keys of which this was first said before it was said of an earlier one of their lane."""
    first: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if entry.what in what:
            first.setdefault(entry.key, place)
    latest: dict[str, int] = {}
    found = []
    for key, lane in orders:
        if key in first:
            if first[key] < latest.get(lane, -1):
                found.append(key)
            latest[lane] = max(first[key], latest.get(lane, -1))
    return found


def _recoveries(entries: Sequence[Entry]) -> list[tuple[int, float]]:
    """Return for each run how long after the kill the last of what was there by then was begun."""
    last = {entry.key: entry.at for entry in entries if entry.what == "started"}
    killed = {int(entry.key): entry.at for entry in entries if entry.what == "killed"}
    found: dict[int, float] = dict.fromkeys(killed, 0.0)
    for entry in entries:
        if entry.what == "committed" and entry.key in last:
            run = int(entry.key.partition("-")[0])
            if run in killed and entry.at <= killed[run]:
                found[run] = max(found[run], last[entry.key] - killed[run])
    return sorted(found.items())


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """The same with the number of broken promises, some of the keys, and percentiles."""
    recovered = sorted(report.pop("recovered"))
    examples = [f"{kind}: {what}" for kind in BROKEN for what in report[kind][:3]]
    counts = {kind: len(report[kind]) for kind in BROKEN}
    percentiles = {
        f"recovered_p{percent}": recovered[min(len(recovered) - 1, len(recovered) * percent // 100)]
        for percent in (50, 99, 100)
        if recovered
    }
    return {**report, **counts, **percentiles, **({"examples": examples} if examples else {})}
