"""Keeps the values of a label few: the first ones are shown by name, the others together."""

from __future__ import annotations

from celeriac.observe.tally import OTHER, Counts, TaskCounts

__all__ = ["LabelCaps"]

#: Most classes of exceptions that are shown by name.
_EXCEPTIONS = 50
#: Most queues that are shown by name, and most entries of beat's schedule.
_QUEUES, _SCHEDULES = 200, 200


class LabelCaps:
    """What has once been shown by name stays so: a counter that moved to another name would jump."""

    def __init__(self, tasks: int) -> None:
        self._most = {"task": tasks, "exception": _EXCEPTIONS, "queue": _QUEUES, "schedule": _SCHEDULES}
        self._shown: dict[str, set[str]] = {label: {OTHER} for label in self._most}
        self._folded: dict[str, set[str]] = {label: set() for label in self._most}

    @property
    def folded(self) -> dict[str, int]:
        """How many values of each label are not shown by name."""
        return {label: len(values) for label, values in self._folded.items()}

    def name(self, label: str, value: str) -> str:
        """Return the value, or what stands for all that are too many."""
        shown = self._shown[label]
        if value in shown:
            return value
        if len(shown) <= self._most[label]:
            shown.add(value)
            return value
        self._folded[label].add(value)
        return OTHER

    def fold(self, counts: Counts) -> Counts:
        """Return the counts under the names that are shown."""
        folded = Counts()
        for (queue, task), one in sorted(counts.tasks.items()):
            if one.started or any(one.ended):
                key = self.name("queue", queue), self.name("task", task)
                folded.tasks.setdefault(key, TaskCounts()).add(one)
        for (kind, first, second), count in sorted(counts.events.items()):
            if not count:
                continue
            event = kind, first, second
            if kind == "failure":
                event = kind, self.name("task", first), self.name("exception", second)
            folded.events[event] = folded.events.get(event, 0) + count
        return folded
