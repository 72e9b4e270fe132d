"""What becomes of a transaction, told to whoever has done something outside of the database meanwhile."""

from __future__ import annotations

from typing import Any
from weakref import finalize

from celeriac.core.outbox import Told

__all__ = ["at_end"]


class _End:
    """Among the functions that wait for the commit.

    Django calls them after it, and says nothing of a rollback: it drops them, and that is what tells of it.
    A savepoint that is rolled back drops its own.
    """

    def __init__(self) -> None:
        self._told: dict[Told, list[Any]] = {}
        self._dropped = finalize(self, _tell, self._told, False)
        self._dropped.atexit = False

    @property
    def waits(self) -> bool:
        """Whether nobody has been told yet."""
        return self._dropped.alive

    def add(self, told: Told, what: Any) -> None:
        self._told.setdefault(told, []).append(what)

    def __call__(self) -> None:
        # Whoever plays a commit in a test leaves it in the list.
        if self._dropped.detach() is not None:
            _tell(self._told, True)


def at_end(connection: Any, told: Told, what: Any) -> None:
    """Call ``told`` once for all that it waits for, when the open transaction, or savepoint, has ended.

    A process that dies before tells nobody. It must not raise.
    """
    inside = set(connection.savepoint_ids)
    for savepoints, function, _ in connection.run_on_commit:
        if isinstance(function, _End) and function.waits and savepoints == inside:
            function.add(told, what)
            return
    end = _End()
    end.add(told, what)
    connection.on_commit(end, robust=True)


def _tell(told: dict[Told, list[Any]], committed: bool) -> None:
    for function, what in told.items():
        function(committed, what)
