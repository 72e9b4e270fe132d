"""The worker that ``celery worker`` starts: Celery's own shell around Celeriac's engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from celery import bootsteps, platforms, signals
from celery.apps.worker import Worker as StockWorker
from celery.apps.worker import safe_say
from celery.platforms import EX_FAILURE, EX_OK
from celery.utils.log import get_logger
from celery.utils.text import str_to_list
from celery.worker import state
from celery.worker.worker import WorkController

from celeriac.bridge.configuration import check_broker, read_settings
from celeriac.bridge.fallback import reason_for_stock_worker
from celeriac.bridge.green_pools import refuse_async_tasks
from celeriac.bridge.pools import ASYNCIO, chosen_pool, pool_name
from celeriac.bridge.queue_weights import parse_queues
from celeriac.bridge.soft_shutdown import SoftShutdown
from celeriac.bridge.time_outs import time_outs
from celeriac.bridge.wanted_metrics import wanted_metrics
from celeriac.core.errors import ConfigurationError

if TYPE_CHECKING:
    from celeriac.bridge.metrics import WorkerMetrics

__all__ = ["Worker"]

logger = get_logger("celeriac.worker")


class _UsageError(click.ClickException):
    exit_code = 2


class Worker(StockWorker):
    """Takes every option of Celery's worker; runs the engine, or Celery's stock worker with a warning.

    Banner, logging, signals, pid file and queue selection are Celery's. In place of its blueprint
    of hub, pool, timer and consumer stands a single step; embedded beat and state database stay.
    """

    #: The most and the least shards, if they are to follow the work; the banner reads it.
    autoscale: Any = None
    autoscaler: Any = None
    engine: Any = None
    #: Sends the worker's own events.
    heart: Any = None
    #: Looks after the process that publishes what waits in a Django project's outbox.
    relay: Any = None
    #: What is scraped of the worker, if it is wanted.
    metrics: WorkerMetrics | None = None
    #: The class that stands for the pool.
    pool_cls: Any
    #: Why Celery's stock worker runs instead of the engine, or None.
    stock_reason: str | None = None
    #: As given with ``-Q high:3,low:1``.
    queue_weights: Mapping[str, float] = {}

    class EngineBlueprint(bootsteps.Blueprint):
        name = "Worker"
        default_steps = frozenset(
            {
                "celeriac.bridge.beat:BeatStep",
                "celery.worker.components:StateDB",
                "celeriac.bridge.engine:EngineStep",
            }
        )

    def on_before_init(self, **kwargs: Any) -> None:
        try:
            read_settings(self.app)
            check_broker(self.app)
        except ConfigurationError as error:
            raise _UsageError(str(error)) from None
        self.soft_shutdown = SoftShutdown(self.app.conf)
        super().on_before_init(**kwargs)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        try:
            names, self.queue_weights = parse_queues(str_to_list(include) or (), self.app.amqp.queues)
        except ConfigurationError as error:
            raise _UsageError(str(error)) from None
        super().setup_queues(names, exclude)

    def setup_defaults(self, *args: Any, engine_pool: str | None = None, **kwargs: Any) -> None:
        super().setup_defaults(*args, **kwargs)
        self.pool_cls = chosen_pool(self.pool_cls, engine_pool, self.app.conf.worker_pool)

    def on_after_init(self, **kwargs: Any) -> None:
        chosen = self.pool_cls
        super().on_after_init(**kwargs)
        self.pool_cls = chosen  # before 5.7 Celery sets up its defaults once more

    def on_init_blueprint(self) -> None:
        super().on_init_blueprint()
        self.stock_reason = reason_for_stock_worker(self)
        if self.stock_reason is None:
            self.app.time_outs = time_outs(read_settings(self.app))
        try:
            self.app.limits.check()
            if self.stock_reason is None:
                self.metrics = wanted_metrics(self)
        except ConfigurationError as error:
            raise _UsageError(str(error)) from None
        if self.stock_reason is None:
            self.Blueprint = self.EngineBlueprint
            if given := self.options.get("autoscale"):
                self.autoscale = _most_and_least(given)
                self.concurrency = self.autoscale[1]
            return
        if self.pool_name == ASYNCIO:
            raise _UsageError(
                f"-P asyncio needs Celeriac's engine, which does not run as {self.stock_reason}"
            )
        logger.warning("Celery's stock worker runs here instead of Celeriac's engine: %s.", self.stock_reason)
        if refusal := refuse_async_tasks(self.app, self.pool_name):
            logger.warning("On this worker %s.", refusal)
        if read_settings(self.app).metrics_port is not None:
            logger.warning("Celery's stock worker has no metrics_port: see celeriac -A ... metrics.")
        if self.queue_weights:
            logger.warning("Celery's stock worker knows no weights of queues: it serves them in turn.")

    @property
    def pool_name(self) -> str:
        """The engine's name for the pool that was asked for."""
        return pool_name(self.pool_cls)

    def on_stopped(self) -> None:
        if self.engine is None:
            super().on_stopped()
        elif self.pidlock:
            self.pidlock.release()

    def on_close(self) -> None:
        if self.engine is None or os.getpid() == self.main_pid:
            super().on_close()

    def install_platform_tweaks(self, worker: Any) -> None:
        super().install_platform_tweaks(worker)
        self.main_pid = os.getpid()
        if self.stock_reason is None:
            _install_shutdown_handlers(self)

    def stats(self) -> dict[str, Any]:
        if self.engine is None:
            return dict(super().stats())
        # Each new connection of kombu's to Redis keeps a descriptor until garbage is collected.
        connection = self.consumer.connection or self.app.connection_for_read()
        autoscaler = {} if self.autoscaler is None else {"autoscaler": self.autoscaler.info()}
        return {
            **WorkController.info(self),
            **autoscaler,
            "total": self.engine.totals.by_name(),
            "broker": connection.info(),
            "pool": self.pool.info,
            "prefetch_count": 0,
            "queues": {
                queue: {
                    "ready": numbers.ready,
                    "leased": numbers.leased,
                    "delayed": numbers.delayed,
                    "dead": numbers.dead,
                }
                for queue, numbers in self.engine.broker.stats(self.engine.queues).items()
            },
            "rusage": self.rusage(),
        }


def _most_and_least(autoscale: str | Sequence[int]) -> tuple[int, int]:
    """Return the most and the least processes; as text they are ``"4,2"``, or ``"4"`` for none at least."""
    if isinstance(autoscale, str):
        most, _, least = autoscale.partition(",")
        return int(most), int(least or 0)
    most_given, least_given = autoscale
    return most_given, least_given


def _install_shutdown_handlers(worker: Worker) -> None:
    """TERM and INT: warm, the second time cold; QUIT: cold at once. REMAP_SIGTERM as in Celery.

    With ``worker_soft_shutdown_timeout`` cold means: when that time is up, or at the next signal.
    """
    remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    # Celery's way of setting them leaves them alone in a thread, where tests run a worker.
    platforms.signals["SIGTERM"] = _handler(worker, warm_first=not remapped)
    platforms.signals["SIGINT"] = _handler(worker, warm_first=True)
    platforms.signals["SIGQUIT"] = _handler(worker, warm_first=False)


def _handler(worker: Worker, *, warm_first: bool) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != worker.main_pid:
            return
        warm = warm_first and state.should_stop is None
        how = "Warm" if warm else "Cold"
        exitcode = EX_OK if warm else EX_FAILURE
        # First of all, as the next signal may interrupt this handler.
        if warm or worker.soft_shutdown.begin():
            state.should_stop = EX_OK
        else:
            state.should_terminate = exitcode
        safe_say(f"worker: {how} shutdown (MainProcess)")
        signals.worker_shutting_down.send(
            sender=worker.hostname, sig=signal.Signals(number).name, how=how, exitcode=exitcode
        )

    return handle
