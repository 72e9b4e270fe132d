"""What the ledger and the database say after all has ended: lost, not once, orphans, inversions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.django.matrix.faults import STOPPED
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
    received from the broker before an earlier one of the same lane, whose transaction was over when the
    order's own began. *overtaken* is no fault: first run before an earlier one, as the worker died that
    had received that one.
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
    over = _over(entries, {run for run, step in steps.items() if step.endswith(f"({STOPPED})")})
    for key in _inverted(found["orders"], entries, {"received"}, over):
        of(key)["inversions"].append(key)
    for key in _inverted(found["orders"], entries, {"delivered", "started"}, over):
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


def _inverted(
    orders: Iterable[Sequence[str]], entries: Sequence[Entry], what: set[str], over: Mapping[str, int]
) -> list[str]:
    """Return the keys of which this was first said before it was said of an earlier one of their lane.

    Transactions that were open at the same time have no order.
    """
    first, began = _first(entries, what), _first(entries, {"began"})
    lanes: defaultdict[str, list[str]] = defaultdict(list)
    found = []
    for key, lane in orders:
        if key not in first:
            continue
        begun = began.get(key, len(entries))
        if any(over.get(one, -1) < begun and first[one] > first[key] for one in lanes[lane]):
            found.append(key)
        lanes[lane].append(key)
    return found


def _first(entries: Sequence[Entry], what: set[str]) -> dict[str, int]:
    """Return the place of the first entry that says this of a key."""
    first: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if entry.what in what:
            first.setdefault(entry.key, place)
    return first


def _over(entries: Sequence[Entry], held_up: set[int]) -> dict[str, int]:
    """Return where each order's transaction is known to be over: it has ended, or its process was killed.

    In runs that are ``held_up`` the process goes on later.
    """
    over: dict[str, int] = {}
    open_: defaultdict[int, set[str]] = defaultdict(set)
    for place, entry in enumerate(entries):
        run = int(entry.key.partition("-")[0])
        if entry.what == "began":
            open_[run].add(entry.key)
            over[entry.key] = len(entries)
        elif entry.what in ("committed", "failed"):
            open_[run].discard(entry.key)
            over[entry.key] = place
        elif entry.what == "killed" and run not in held_up:
            over |= dict.fromkeys(open_.pop(run, ()), place)
    return over


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
