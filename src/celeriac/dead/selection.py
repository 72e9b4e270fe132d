"""Which dead letters are meant. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from fnmatch import fnmatchcase

import msgspec

from celeriac.bridge.letters import Told, tell
from celeriac.core.lease import DeadLetter

__all__ = ["Found", "Selection", "read_moment"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class Found(msgspec.Struct, frozen=True):
    """A dead letter and what its message tells."""

    letter: DeadLetter
    told: Told


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A letter is selected if every criterion that is given holds."""

    queues: frozenset[str] = frozenset()
    #: A task's name, or a pattern of it: ``shop.*``.
    tasks: frozenset[str] = frozenset()
    task_ids: frozenset[str] = frozenset()
    #: Part of the reason, in small or capital letters.
    reason: str = ""
    #: Unix seconds; died at this moment or later, and before that one.
    since: float | None = None
    before: float | None = None

    def __bool__(self) -> bool:
        """Whether any criterion is given."""
        return self != Selection()

    def over(self, letter: DeadLetter) -> bool:
        """Whether this letter, and so every earlier one, died too early."""
        return self.since is not None and letter.died_at < self.since

    def find(self, letter: DeadLetter) -> Found | None:
        """Return the letter with what it tells if it is selected, else None."""
        if not self._may_be(letter):
            return None
        told = tell(letter.message.payload)
        if self.task_ids and told.task_id not in self.task_ids:
            return None
        if self.tasks and not any(fnmatchcase(told.task or "", pattern) for pattern in self.tasks):
            return None
        return Found(letter, told)

    def _may_be(self, letter: DeadLetter) -> bool:
        """Judge by what is known without reading the message."""
        if self.over(letter) or (self.before is not None and letter.died_at >= self.before):
            return False
        if self.queues and letter.message.queue not in self.queues:
            return False
        return self.reason.casefold() in letter.reason.casefold()


def read_moment(text: str, now: float) -> float:
    """Return the Unix seconds of an ISO date or time (local unless it says otherwise), or of an age: ``2h``.

    Raises ValueError for anything else.
    """
    if age := _AGE.fullmatch(text.strip()):
        return now - float(age[1]) * _UNITS[age[2]]
    return datetime.fromisoformat(text.strip()).timestamp()
