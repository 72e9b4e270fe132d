"""What remote control has asked for, in the process that runs the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery.utils.time import rate
from celery.worker import state

from celeriac.bridge.rate_limits import RateLimits
from celeriac.bridge.task_events import TaskEvents
from celeriac.engine.notices import AnyNotice, RateLimit, Revoked, StampsRevoked, TimeLimits
from celeriac.engine.notices import TaskEvents as EventsNotice

__all__ = ["Orders"]

#: Every worker is told of every termination, and runs few of the tasks itself.
_TERMINATIONS_MAX = 1000


class Orders:
    """A forked shard begins with what its supervisor knows and learns the rest by notices.

    What is revoked is kept where Celery keeps it, in ``celery.worker.state``.
    """

    def __init__(self, app: Any, events: TaskEvents, limits: RateLimits | None) -> None:
        """Without ``limits`` tasks start at any rate."""
        self.events = events
        #: Whether a delivery has to be looked at before it runs.
        self.attentive = False
        #: Starts a second, of each task that has a limit.
        self.rates: dict[str, float] = {}
        self.limits = limits
        #: The signals with which tasks are to be terminated, by task id.
        self.terminations: dict[str, int] = {}
        self._app = app
        if limits is not None:
            for task in app.tasks.values():
                self._limit(task.name, task.rate_limit)
        self._decide()

    def remember_terminations(self, ids: Sequence[str], signum: int) -> None:
        """Know, when the process of one of these is dead, what it was terminated with."""
        self.terminations.update(dict.fromkeys(ids, signum))
        while len(self.terminations) > _TERMINATIONS_MAX:
            del self.terminations[next(iter(self.terminations))]

    def for_shard(self) -> Orders:
        """Return the same for a shard, in its own process or in this one."""
        return Orders(self._app, self.events.for_shard(), self.limits)

    def revocations(self) -> list[AnyNotice]:
        """Return what is revoked, for a process whose state is about to be reset."""
        return [Revoked(list(state.revoked)), StampsRevoked(dict(state.revoked_stamps))]

    def heed(self, notice: AnyNotice) -> None:
        """Do as the notice says."""
        if isinstance(notice, Revoked):
            state.revoked.update(list(notice.ids))
        elif isinstance(notice, StampsRevoked):
            self._revoke_stamps(notice.stamps)
        elif isinstance(notice, EventsNotice):
            self.events.want(notice.wanted)
        elif isinstance(notice, TimeLimits) and (task := self._app.tasks.get(notice.name)) is not None:
            task.soft_time_limit, task.time_limit = notice.soft, notice.hard
        elif isinstance(notice, RateLimit):
            self._limit(notice.name, notice.rate)
        self._decide()

    def revoked(self, job: Any) -> bool:
        """Return whether the job may have been revoked, so that a closer look is needed."""
        if job.id in state.revoked:
            return True
        return bool(state.revoked_stamps and job.delivered.headers.get("stamped_headers"))

    def wait_until(self, name: str, now: float) -> float | None:
        """Return the Unix seconds before which the task's rate limit does not let it start, if any."""
        per_second = self.rates.get(name)
        if per_second is None or self.limits is None:
            return None
        return self.limits.wait_until(name, per_second, now)

    def _limit(self, name: str, limit: Any) -> None:
        if self.limits is not None and (per_second := rate(limit)):
            self.rates[name] = per_second
        else:
            self.rates.pop(name, None)

    def _decide(self) -> None:
        self.attentive = bool(self.events.wanted or len(state.revoked) or state.revoked_stamps)

    @staticmethod
    def _revoke_stamps(stamps: dict[str, list[Any]]) -> None:
        # Never empty in between: threads of this process read it.
        state.revoked_stamps.update(stamps)
        for name in [name for name in state.revoked_stamps if name not in stamps]:
            del state.revoked_stamps[name]
