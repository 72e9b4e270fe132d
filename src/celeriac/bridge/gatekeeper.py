"""Lets limited tasks start, in the process that runs them, whichever worker it belongs to."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery.utils.log import get_logger

from celeriac.bridge.task_limits import TaskLimits
from celeriac.core.errors import BrokerError
from celeriac.limits.place_keeper import PlaceKeeper

__all__ = ["Gatekeeper"]

logger = get_logger("celeriac.limits")

#: Seconds after which a task asks again whose limits could not be looked up.
_UNREACHABLE_WAIT: Final = 1.0
#: Seconds that a place outlives its task's hard time limit.
_GRACE: Final = 5.0


class Gatekeeper:
    """Knows which tasks of this process have passed their gates and not ended yet."""

    def __init__(self, limits: TaskLimits) -> None:
        self._limits = limits
        self._store = limits.store
        self._keeper = PlaceKeeper(self._store, limits.settings.limits_lease_seconds)
        #: The keys of the places each task holds; empty if it holds none.
        self._passed: dict[str, list[str]] = {}

    def hold_back(
        self, name: str, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> float | None:
        """Let the task start and return None; or return the Unix seconds at which to ask again."""
        gates = self._limits.gates(name, args, kwargs)
        try:
            due = self._store.enter(gates, task_id, chance=random.random())
        except BrokerError as error:
            if self._limits.settings.limits_unreachable == "wait":
                logger.warning("task %s[%s] waits: its limits cannot be looked up: %s", name, task_id, error)
                return time.time() + _UNREACHABLE_WAIT * random.uniform(1, 2)
            logger.warning("task %s[%s] runs without its limits: %s", name, task_id, error)
            due, gates = None, []
        if due is None:
            self._passed[task_id] = [gate.key for gate in gates if gate.window is None]
        return due

    def has_passed(self, task_id: str) -> bool:
        """Whether the task may run now."""
        return task_id in self._passed

    def started(self, task_id: str, time_limit: float | None) -> None:
        """Let the task keep its places for as long as it runs."""
        keys = self._passed.get(task_id)
        if keys:
            self._keeper.keep(keys, task_id, time_limit + _GRACE if time_limit else math.inf)

    def ended(self, task_id: str) -> None:
        """Let others have the task's places."""
        keys = self._passed.pop(task_id, None)
        if not keys:
            return
        self._keeper.drop(task_id)
        try:
            self._store.leave(keys, task_id)
        except BrokerError as error:
            logger.warning("the place of task %s is free only when its lease ends: %s", task_id, error)
