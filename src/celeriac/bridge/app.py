"""The Celery app of Celeriac: ``from celeriac import Celery``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import celery
from celery.app.backends import by_url
from celery.utils.imports import symbol_by_name
from celery.utils.time import maybe_iso8601, maybe_make_aware

from celeriac.bridge.awaited import with_awaited_body
from celeriac.bridge.batches import BatchScope
from celeriac.bridge.bulk import Calls, call_many
from celeriac.bridge.configuration import read_settings, single_url
from celeriac.bridge.framework import Framework, equip, imply, options_with_implied
from celeriac.bridge.gatekeeper import Gatekeeper
from celeriac.bridge.limit_signals import listen
from celeriac.bridge.outgoing import Departures, Place
from celeriac.bridge.patient_retry import with_patient_retry
from celeriac.bridge.places import TaskPlaces
from celeriac.bridge.pools import PoolOption
from celeriac.bridge.quiet_results import quiet_while_kept
from celeriac.bridge.reservations import call_of
from celeriac.bridge.shown_settings import bug_report
from celeriac.bridge.task import with_bulk_calls
from celeriac.bridge.task_limits import TaskLimits
from celeriac.bridge.unique_calls import UniqueCalls
from celeriac.bridge.wrapped import sending_is_wrapped
from celeriac.brokers.connect import scheme_of
from celeriac.core.layer import Layer
from celeriac.core.watch import Backlogs

__all__ = ["Celery"]

#: kombu transports of ours, by URL scheme; kombu has one of its own for the others.
_TRANSPORTS = {"sqlite": "celeriac.bridge.transport:SqliteTransport"}
#: Celery's result backends that ours stand in for. Subclasses of them, Celery's own too, stay as they are.
_RESULT_BACKENDS = {"celery.backends.redis.RedisBackend": "celeriac.bridge.redis_results:RedisResults"}


class Celery(celery.Celery):
    """A drop-in for ``celery.Celery`` whose worker is Celeriac's engine.

    ``layers`` wrap publishing and running, the first one outermost.
    """

    amqp_cls = "celeriac.bridge.publish:FastAMQP"
    builtin_fixups = frozenset({"celeriac.bridge.django.fixup:fixup"})
    #: Transport options with which a worker's connections notice that nobody answers any more.
    time_outs: Mapping[str, float] = {}
    #: The web framework it runs in; None outside of any.
    framework: Framework | None = None

    def __init__(self, *args: Any, layers: Sequence[Layer] = (), **kwargs: Any) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        self.limits = TaskLimits(self)
        self.places = TaskPlaces()
        super().__init__(*args, **kwargs)
        self.user_options["worker"].add(PoolOption())

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """The worker that ``celery worker`` starts."""
        return self.subclass_with_self("celeriac.bridge.worker:Worker", name="Worker")

    @cached_property
    def Beat(self) -> Any:  # noqa: N802 - Celery's name
        """The program that ``celery beat`` starts."""
        return self.subclass_with_self("celeriac.bridge.beat_program:Beat", name="Beat")

    @cached_property
    def GroupResult(self) -> Any:  # noqa: N802 - Celery's name
        """What a group returns."""
        return self.subclass_with_self("celeriac.bridge.group_result:GroupResult")

    def owns_transport(self, url: str) -> bool:
        """Whether messages to ``url`` go through a broker of ours, not a transport set by hand."""
        transport = self.conf.broker_transport
        scheme = scheme_of(url)
        return not transport or transport in (scheme, _TRANSPORTS.get(scheme))

    def due_time(self, eta: Any) -> float | None:
        """Return the Unix seconds of a message's ``eta`` header; None if there is none or it is no time."""
        if eta is None:
            return None
        try:
            moment = maybe_make_aware(maybe_iso8601(eta), self.conf.timezone)
            return float(moment.timestamp())
        except (AttributeError, TypeError, ValueError, OverflowError):
            return None

    @cached_property
    def gatekeeper(self) -> Gatekeeper:
        """What lets limited tasks start in this process."""
        return Gatekeeper(self.limits)

    @cached_property
    def unique_calls(self) -> UniqueCalls:
        """What publishes calls of unique tasks."""
        return UniqueCalls(self, self.limits)

    def task(self, *args: Any, **options: Any) -> Any:
        self.limits.check_options(options)
        return super().task(*args, **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        imply(self.framework, task)
        return self._equipped(super().register_task(task, **options))

    def _equipped(self, task: Any) -> Any:
        self.places.learn(task)
        if self.limits.learn(task):
            listen(task)
        equip(self.framework, task)
        return task

    @property
    def departures(self) -> Departures | None:
        """What keeps messages for the commit of a transaction; None: they are sent at once."""
        return None if self.framework is None else self.framework.departures

    @property
    def outbox_backlogs(self) -> Backlogs | None:
        """What measures the outboxes of the project; None if it has none."""
        return None if self.framework is None else self.framework.backlogs

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        if self.places.concern(name, options):
            return self._send_placed(name, args, kwargs, *rest, **options)
        return self._send_checked(name, args, kwargs, *rest, **options)

    def _send_placed(self, name: str, args: Any, kwargs: Any, *rest: Any, **options: Any) -> Any:
        place, options = self.places.of(name, args, kwargs, options)
        departures = self.departures
        if departures is not None and departures.chords.database_of(options.get("group_id")):
            place = Place(place.using)  # a part of a chord goes as the chord does
        if departures is None or place == Place():
            return self._send_checked(name, args, kwargs, *rest, **options)
        options.pop("producer", None)  # a batch goes where its other messages go
        self.amqp.batches.make_way()
        with departures.placed(place):
            return self._send_checked(name, args, kwargs, *rest, **options)

    def _send_checked(self, name: str, args: Any, kwargs: Any, *rest: Any, **options: Any) -> Any:
        if name in self.limits.unique or "unique" in options:
            return self.unique_calls.send(name, args, kwargs, rest, self._send_task, **options)
        return self._send_task(name, args, kwargs, *rest, **options)

    def _send_task(self, name: str, args: Any, kwargs: Any, *rest: Any, **options: Any) -> Any:
        result = None if rest or sending_is_wrapped() else self.amqp.send_plain(name, args, kwargs, options)
        if result is None:
            result = super().send_task(name, args, kwargs, *rest, **options)
        return result

    def call_task(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what ``task.delay`` does; if somebody wants a say in that, do nothing and return None."""
        if task.name in self.limits.unique or self.places.concern(task.name, {}):
            return None
        if type(self).send_task is not Celery.send_task or "send_task" in vars(self):
            return None
        return self.amqp.call_directly(task, args, kwargs)

    def send_many(self, signatures: Iterable[Any]) -> list[Any]:
        """Publish each signature, in their order, in batches; return what ``apply_async`` gives for each."""
        scope = BatchScope(super().producer_or_acquire(), self.amqp.batches, whole=True)
        with scope as producer, closing(self.unique_calls.reservations.ahead(signatures, call_of)) as known:
            return [one.apply_async(producer=producer, **given) for one, given in known]

    def apply_many(self, task: Any, calls: Calls, options: dict[str, Any]) -> Sequence[Any]:
        """What ``task.apply_many`` does."""
        batches = self.amqp.batches
        with BatchScope(super().producer_or_acquire(), batches, whole=True) as producer:
            return call_many(self, task, calls, options, producer=producer, batch=batches.of(producer))

    def producer_or_acquire(self, producer: Any = None) -> Any:
        context = super().producer_or_acquire(producer)
        if producer is not None:
            return context
        return BatchScope(context, self.amqp.batches, whole=False)

    def create_task_cls(self) -> Any:
        return self.subclass_with_self(
            self._in_framework(with_patient_retry(with_bulk_calls(symbol_by_name(self.task_cls)))),
            name="Task",
            attribute="_app",
            keep_reduce=True,
            abstract=True,
        )

    def _task_from_fun(self, fun: Any, name: Any = None, base: Any = None, *rest: Any, **options: Any) -> Any:
        base = with_awaited_body(fun, self._in_framework(base or self.Task))
        if callable(options.get("ordering_key")):
            options["ordering_key"] = staticmethod(options["ordering_key"])  # it is no method of the task
        options = options_with_implied(self.framework, base, options)
        return self._equipped(super()._task_from_fun(fun, name, base, *rest, **options))

    def _in_framework(self, base: type[Any]) -> type[Any]:
        return base if self.framework is None else self.framework.task_class(base)

    def _get_backend(self) -> Any:
        backend, url = by_url(self.backend_cls or self.conf.result_backend, self.loader)
        ours = _RESULT_BACKENDS.get(f"{backend.__module__}.{backend.__qualname__}")
        made = (symbol_by_name(ours) if ours else backend)(app=self, url=url)
        return made if self.framework is None else quiet_while_kept(made, self)

    def _connection(self, url: Any, *args: Any, transport: Any = None, **kwargs: Any) -> Any:
        given = {
            **self.time_outs,
            **self.conf.broker_transport_options,
            **(kwargs.get("transport_options") or {}),
        }
        kwargs["transport_options"] = given
        if transport is None and not self.conf.broker_transport:
            transport = _TRANSPORTS.get(scheme_of(single_url(url or self.conf.broker_url) or ""))
            if transport is not None:
                # A stock worker on this transport buries what the engine would bury.
                limit = {"max_deliveries": read_settings(self).engine_max_deliveries}
                kwargs["transport_options"] = {**limit, **given}
        return super()._connection(url, *args, transport=transport, **kwargs)

    def bugreport(self) -> str:
        return bug_report(self)

    def __reduce_keys__(self) -> dict[str, Any]:
        return {**super().__reduce_keys__(), "layers": self.layers}
