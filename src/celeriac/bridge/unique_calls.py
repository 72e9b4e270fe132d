"""Publishing unique tasks: the lock is taken before the message is sent, and confirmed after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from celery.app.task import Context
from celery.result import EagerResult
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from celeriac.bridge.task_limits import TaskLimits
from celeriac.bridge.template import fresh_id
from celeriac.core.errors import BrokerError, ConfigurationError, DuplicateTask
from celeriac.limits.rules import Unique, as_unique

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

    def send(
        self, name: str, args: Any, kwargs: Any, rest: tuple[Any, ...], publish: Publish, **options: Any
    ) -> Any:
        """Publish the call unless an earlier one counts; return its result, or what a duplicate gets."""
        options |= dict(zip(_POSITIONAL, rest, strict=False))
        rule = as_unique(options.pop("unique")) if "unique" in options else self._limits.unique.get(name)
        if rule is None:
            return publish(name, args, kwargs, **options)
        if options.get("retries"):
            self._keep_for_retry(rule, options)
            return publish(name, args, kwargs, **options)
        self._check_override(name, rule)
        key = self._limits.unique_key(name, rule, args or (), kwargs or {})
        task_id = options["task_id"] = options.get("task_id") or fresh_id()
        holder = self._lock(name, key, task_id)
        if holder is not None and holder != task_id:
            return self._duplicate(name, rule, holder, options)
        if rule.until != "expiry":
            options["headers"] = {**(options.get("headers") or {}), HEADER: [key, rule.until, rule.within]}
        return self._publish(partial(publish, name, args, kwargs), key, rule, options)

    def _publish(self, publish: Publish, key: str, rule: Unique, options: dict[str, Any]) -> Any:
        task_id = options["task_id"]
        release = partial(self.release, key, task_id)
        confirm = partial(self._confirm, key, task_id, rule.within + self._seconds_ahead(options))
        batch = self._app.amqp.batches.find(options.get("producer"), options.get("group_id"))
        try:
            result = publish(**options)
        except BaseException:  # nobody will run it, so it must not keep others away
            release()
            raise
        if batch is None:
            confirm()
        else:
            batch.follow(confirm, release)
        return result

    def release(self, key: str, task_id: str) -> None:
        """Let another call with the same key be accepted."""
        try:
            self._limits.store.unlock(key, task_id)
        except BrokerError as error:
            logger.warning("unique task %s keeps others away until its time is over: %s", task_id, error)

    def hold(self, key: str, task_id: str, seconds: float) -> None:
        """Let the call count for so many seconds from now, unless another one has taken its place."""
        try:
            self._limits.store.lock(key, task_id, seconds)
        except BrokerError as error:
            logger.warning("unique task %s may cease to keep others away: %s", task_id, error)

    def _check_override(self, name: str, rule: Unique) -> None:
        known = name in self._app._tasks and name not in self._limits.unique
        if known and rule.until != "expiry":
            raise ConfigurationError(
                f"a call of {name} cannot be unique until it is {rule.until}, as its workers do not know: "
                "declare unique= on the task, or write until='expiry'"
            )

    def _lock(self, name: str, key: str, task_id: str) -> str | None:
        """Return the id of the call that holds the key; None if nobody knows."""
        settings = self._limits.settings
        try:
            return self._limits.store.lock(key, task_id, settings.limits_publish_seconds)
        except BrokerError as error:
            if settings.limits_unique_unreachable == "raise":
                raise OperationalError(f"whether {name} is unique cannot be looked up: {error}") from error
            logger.warning("task %s[%s] is published unchecked: %s", name, task_id, error)
            return None

    def _confirm(self, key: str, task_id: str, seconds: float) -> None:
        try:
            self._limits.store.extend(key, task_id, seconds)
        except BrokerError as error:
            logger.warning("unique task %s may soon cease to keep others away: %s", task_id, error)

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
