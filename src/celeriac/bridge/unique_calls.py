"""Publishing unique tasks: the lock is taken before the message is sent, and confirmed after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from celery.app.task import Context, Task
from celery.result import EagerResult
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from celeriac.bridge.reservations import Call, Reservations
from celeriac.bridge.task_limits import TaskLimits
from celeriac.bridge.template import fresh_id
from celeriac.core.errors import BrokerError, ConfigurationError, DuplicateTask
from celeriac.limits.rules import Unique, as_unique
from celeriac.limits.store import Lock

__all__ = ["HEADER", "DroppedDuplicate", "UniqueCalls"]

logger = get_logger("celeriac.limits")

#: Of a message whose lock is given up by whoever runs it: the key, until when, and its seconds.
HEADER: Final = "celeriac-unique"
#: What ``send_task`` takes by position, after name, args and kwargs.
_POSITIONAL: Final = (
    "countdown",
    "eta",
    "task_id",
    "producer",
    "connection",
    "router",
    "result_cls",
    "expires",
)

Publish = Callable[..., Any]


class DroppedDuplicate(EagerResult):
    """The result of a call that was dropped: its state is DUPLICATE, its value None."""

    def __init__(self, task_id: str, existing: str) -> None:
        super().__init__(task_id, None, "DUPLICATE")
        #: The id of the earlier call that counts.
        self.existing = existing

    def __reduce_args__(self) -> tuple[str, str]:
        return self.id, self.existing


class UniqueCalls:
    """Publishes calls of unique tasks of one app."""

    def __init__(self, app: Any, limits: TaskLimits) -> None:
        self._app = app
        self._limits = limits
        #: Locks of calls that are about to be made together.
        self.reservations = Reservations(self._wish, self._take, self._release)

    def send(
        self, name: str, args: Any, kwargs: Any, rest: tuple[Any, ...], publish: Publish, **options: Any
    ) -> Any:
        """Publish the call unless an earlier one counts; return its result, or what a duplicate gets."""
        options |= dict(zip(_POSITIONAL, rest, strict=False))
        rule = self._rule(name, options)
        options.pop("unique", None)
        if rule is None:
            return publish(name, args, kwargs, **options)
        if options.get("retries"):
            self._keep_for_retry(rule, options)
            return publish(name, args, kwargs, **options)
        self._check_override(name, rule)
        key = self._limits.unique_key(name, rule, args or (), kwargs or {})
        task_id = options["task_id"] = options.get("task_id") or fresh_id()
        reserved = self.reservations.use(task_id, key)
        if reserved is None:
            [holder] = self._take([Lock(key, task_id, self._limits.settings.limits_publish_seconds)])
        else:
            holder = reserved.holder
        if holder is not None and holder != task_id:
            return self._duplicate(name, rule, holder, options)
        if rule.until != "expiry":
            options["headers"] = {**(options.get("headers") or {}), HEADER: [key, rule.until, rule.within]}
        return self._publish(partial(publish, name, args, kwargs), key, rule, options)

    def _publish(self, publish: Publish, key: str, rule: Unique, options: dict[str, Any]) -> Any:
        task_id = options["task_id"]
        lock = Lock(key, task_id, rule.within + self._seconds_ahead(options))
        batch = self._app.amqp.batches.find(options.get("producer"), options.get("group_id"))
        try:
            result = publish(**options)
        except BaseException:  # nobody will run it, so it must not keep others away
            self._release([lock])
            raise
        self._release_with_rollback(lock)
        if batch is None:
            self._confirm([lock])
        else:
            batch.follow(self._confirm, self._release, lock)
        return result

    def _release_with_rollback(self, lock: Lock) -> None:
        departures = self._app.departures
        database = None if departures is None else departures.transaction()
        if database is not None:
            departures.at_end(database, self._after_transaction, lock)

    def _after_transaction(self, committed: bool, locks: Sequence[Lock]) -> None:
        if not committed:  # nobody will run them
            self._release(locks)

    def release(self, key: str, task_id: str) -> None:
        """Let another call with the same key be accepted."""
        self._release([Lock(key, task_id)])

    def hold(self, key: str, task_id: str, seconds: float) -> None:
        """Let the call count for so many seconds from now, unless another one has taken its place."""
        try:
            self._limits.store.lock([Lock(key, task_id, seconds)])
        except BrokerError as error:
            logger.warning("unique task %s may cease to keep others away: %s", task_id, error)

    def _check_override(self, name: str, rule: Unique) -> None:
        known = name in self._app._tasks and name not in self._limits.unique
        if known and rule.until != "expiry":
            raise ConfigurationError(
                f"a call of {name} cannot be unique until it is {rule.until}, as its workers do not know: "
                "declare unique= on the task, or write until='expiry'"
            )

    def _rule(self, name: str, options: Mapping[str, Any]) -> Unique | None:
        return as_unique(options["unique"]) if "unique" in options else self._limits.unique.get(name)

    def _wish(self, call: Call, task_id: str) -> Lock | None:
        """Return the lock that the call takes before it is published; None if it takes none."""
        try:
            rule = self._rule(call.name, call.options)
            if rule is None or call.options.get("retries") or not self._is_foreseeable(call.name):
                return None
            self._check_override(call.name, rule)
            key = self._limits.unique_key(call.name, rule, call.args or (), call.kwargs or {})
        except ConfigurationError:
            return None  # it is raised when the call is made
        return Lock(key, task_id, self._limits.settings.limits_publish_seconds)

    def _is_foreseeable(self, name: str) -> bool:
        """Whether a call of the task comes here with the id it was given."""
        task = self._app._tasks.get(name)
        own_way = task is not None and type(task).apply_async is not Task.apply_async
        return not (own_way or self._app.conf.task_always_eager)

    def _take(self, locks: Sequence[Lock]) -> list[str | None]:
        """Return the ids of the calls that hold the keys; None if nobody knows."""
        try:
            return [*self._limits.store.lock(locks)]
        except BrokerError as error:
            names = _names(locks)
            if self._limits.settings.limits_unique_unreachable == "raise":
                raise OperationalError(f"whether {names} is unique cannot be looked up: {error}") from error
            logger.warning("task %s is published unchecked: %s", names, error)
            return [None] * len(locks)

    def _confirm(self, locks: Sequence[Lock]) -> None:
        try:
            self._limits.store.extend(locks)
        except BrokerError as error:
            logger.warning("unique task %s may soon cease to keep others away: %s", _names(locks), error)

    def _release(self, locks: Sequence[Lock]) -> None:
        try:
            self._limits.store.unlock(locks)
        except BrokerError as error:
            logger.warning(
                "unique task %s keeps others away until its time is over: %s", _names(locks), error
            )

    def _keep_for_retry(self, rule: Unique, options: dict[str, Any]) -> None:
        held = (options.get("headers") or {}).get(HEADER)
        if rule.until == "done" and held:
            key, _, within = held
            self.hold(key, options["task_id"], within + self._seconds_ahead(options))

    def _seconds_ahead(self, options: Mapping[str, Any]) -> float:
        if options.get("countdown"):
            return max(float(options["countdown"]), 0.0)
        due = self._app.due_time(options.get("eta"))
        return 0.0 if due is None else max(due - time.time(), 0.0)

    def _duplicate(self, name: str, rule: Unique, existing: str, options: dict[str, Any]) -> Any:
        error = DuplicateTask(name, existing)
        sent_by_celery = options.get("parent_id") is not None
        if rule.duplicate == "raise" and not sent_by_celery:
            raise error
        logger.info("Task %s[%s] is a duplicate of %s", name, options["task_id"], existing)
        if _is_waited_for(options):
            return self._settle(name, rule, error, options)
        if rule.duplicate == "existing":
            return (options.get("result_cls") or self._app.AsyncResult)(existing)
        return DroppedDuplicate(options["task_id"], existing)

    def _settle(self, name: str, rule: Unique, error: DuplicateTask, options: dict[str, Any]) -> Any:
        """Let whoever waits for the call learn that it is a duplicate, under the id it knows."""
        task_id, backend = options["task_id"], self._app.backend
        request = Context(
            id=task_id,
            task=name,
            group=options.get("group_id"),
            group_index=options.get("group_index"),
            chord=options.get("chord"),
            chain=options.get("chain"),
            errbacks=options.get("link_error") and [options["link_error"]],
            root_id=options.get("root_id") or task_id,
            parent_id=options.get("parent_id"),
            ignore_result=bool(options.get("ignore_result")),
            delivery_info={},
        )
        if rule.duplicate == "drop" and not options.get("chain"):
            backend.mark_as_done(task_id, None, request)
        else:
            backend.mark_as_failure(task_id, error, request=request, store_result=not request.ignore_result)
        return self._app.AsyncResult(task_id)


def _is_waited_for(options: Mapping[str, Any]) -> bool:
    """Whether a group, a chord or the rest of a chain waits for the call under an id of its own."""
    return any(map(options.get, ("chord", "chain", "group_id", "parent_id")))


def _names(locks: Sequence[Lock]) -> str:
    """The first of the calls by name and id, and how many more there are."""
    name = f"{locks[0].key.rpartition(':')[0]}[{locks[0].holder}]"
    return name if len(locks) == 1 else f"{name} and {len(locks) - 1} more"
