"""The command ``celeriac scale serve``, beside those that simulate and explain."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from celeriac.bridge.calendar import BeatCalendar
from celeriac.bridge.configuration import named_settings, read_settings
from celeriac.bridge.deployment import load_tasks, queue_names
from celeriac.bridge.find_app import broker_of, find_app
from celeriac.bridge.metrics import message_sent_at
from celeriac.core.errors import ConfigurationError
from celeriac.deploy.cluster.api import ClusterApi
from celeriac.deploy.manifests.pools import Pool, read_pools
from celeriac.deploy.outlets.answers import Answers
from celeriac.deploy.outlets.keda import KedaServer
from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.command import scale
from celeriac.deploy.scaling.view import TICK
from celeriac.observe.prometheus import prometheus_client
from celeriac.observe.server import MetricsServer
from celeriac.scaler.agenda import Agenda
from celeriac.scaler.cluster_side import PoolSide
from celeriac.scaler.lookout import Lookout
from celeriac.scaler.pages import pages
from celeriac.scaler.pool_scaler import PoolScaler
from celeriac.scaler.pool_watch import PoolWatch
from celeriac.scaler.remembered import read_memories
from celeriac.scaler.service import PoolParts, Service

__all__ = ["scale"]

logger = logging.getLogger("celeriac.scaler")

_PORT = click.IntRange(0, 65_535)


@scale.command("serve", short_help="Tell autoscalers how many pods each pool of an app should have.")
@click.pass_obj
@click.option("--grpc-port", type=_PORT, default=6000, show_default=True, help="For KEDA. 0: any.")
@click.option("--port", type=_PORT, default=8080, show_default=True, help="For numbers and JSON. 0: any.")
@click.option("--host", help="The address to listen on; else the setting metrics_host.")
@click.option("--objective", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True,
              help="Seconds that a task may wait.")  # fmt: skip
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), envvar="CELERIAC_SCALE_STATE",
              help="A file in which what was learnt outlives this process.")  # fmt: skip
@click.option("--preview", is_flag=True, help="Decide and explain, and change nothing.")
def serve(app: Any, /, **options: Any) -> None:
    """Decide every 15 seconds how many pods each pool of the app should have, and tell who asks.

    \b
    For Prometheus  http://HOST:8080/metrics, celery_desired_workers{pool="..."}
    For KEDA        HOST:6000 (external-push), or http://HOST:8080/desired/POOL (metrics-api)
    For people      celeriac scale explain --url http://HOST:8080 --pool POOL

    Inside a cluster it counts the pools' pods, and marks the idlest ones before a pool gets smaller.

    \b
    Example:
      celeriac -A proj scale serve --grpc-port 6000 --port 8080 --state /var/lib/scaler/state
    """
    prometheus_client()
    _log_to_stderr()
    celery_app = find_app(app)
    load_tasks(celery_app)
    with _serving(celery_app, **options) as service:
        signal.signal(signal.SIGTERM, lambda *_: service.close())
        signal.signal(signal.SIGINT, lambda *_: service.close())
        service.run()


@contextmanager
def _serving(
    app: Any,
    grpc_port: int,
    port: int,
    host: str | None,
    objective: float,
    state: Path | None,
    preview: bool,
) -> Iterator[Service]:
    """The loop with everything that tells of it, not yet running."""
    pools = _pools(app)
    host = host or read_settings(app).metrics_host
    answers = Answers(list(pools))
    agenda = Agenda(BeatCalendar(app))
    parts = _parts(app, pools, _aims(pools, objective, preview), agenda, state)
    with ExitStack() as stack:
        broker, other = broker_of(app), broker_of(app)
        stack.callback(broker.close)
        service = Service(broker, partial(message_sent_at, app.due_time), parts, answers, agenda, state)
        lookout = Lookout(
            other,
            answers,
            {name: parts[name].watch.queues for name in pools},
            lambda pool, now: parts[pool].beat_is_near(now),
        )
        stack.callback(lookout.close)
        keda = KedaServer(host, grpc_port, answers)
        stack.callback(keda.close)
        shown = pages(answers, service.upkeep, _idle_for(service))
        server = _server(host, port, shown)
        stack.callback(server.close)
        stack.callback(answers.close)
        logger.info(
            "Scaling %s%s: http://%s/metrics and /desired/POOL, KEDA at port %d%s",
            ", ".join(pools),
            " in preview" if preview else "",
            server.address,
            keda.port,
            "" if state else "; what is learnt ends with this process, as there is no --state",
        )
        for each in (server, keda, lookout):
            each.start()
        yield service


def _pools(app: Any) -> Mapping[str, Pool]:
    return read_pools(named_settings(app, lambda name: name == "pools").get("pools"))


def _aims(pools: Mapping[str, Pool], objective: float, preview: bool) -> dict[str, Aims]:
    return {
        name: Aims(
            slots_per_pod=pool.slots,
            objective=objective,
            min_pods=pool.min,
            max_pods=pool.max,
            gpus_per_pod=pool.gpu,
            max_gpus=pool.max_gpus,
            price=pool.price or 0.0,
            budget=pool.budget,
            startup=pool.start / 2,  # until one was seen: start is when it has to be there
            preview=preview,
        )
        for name, pool in pools.items()
    }


def _parts(
    app: Any, pools: Mapping[str, Pool], aims: Mapping[str, Aims], agenda: Agenda, state: Path | None
) -> dict[str, PoolParts]:
    api = ClusterApi.of_this_pod()
    memories = {} if state is None else read_memories(state)
    if api is None:
        logger.info("This is no cluster: pods are counted by what workers tell, and none is marked")
    parts = {}
    for name, pool in pools.items():
        queues = pool.queues or tuple(queue_names(app))
        watch = PoolWatch(queues, pool.slots, aims[name].objective, lambda a, b: sorted(agenda.between(a, b)))
        scaler = PoolScaler(name, aims[name], memories.get(name))
        near = partial(_beat_is_near, agenda, frozenset(queues), scaler)
        parts[name] = PoolParts(watch, scaler, PoolSide(name, api), near)
    return parts


def _beat_is_near(agenda: Agenda, queues: frozenset[str], scaler: PoolScaler, now: float) -> str | None:
    """Return the entry that sends to these queues before a pod asked for a tick later could be there."""
    due: Sequence[tuple[float, str]] = sorted(agenda.between(now, now + scaler.lead + TICK))
    return next((entry for _at, entry in due if agenda.queue_of(entry) in queues), None)


def _server(host: str, port: int, shown: Any) -> MetricsServer:
    try:
        return MetricsServer(host, port, shown)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("set metrics_port to", "take --port with")) from None


def _idle_for(service: Service) -> Any:
    last = [0, time.monotonic()]

    def idle_for() -> float:
        if service.upkeep.ticks != last[0]:
            last[:] = [service.upkeep.ticks, time.monotonic()]
        return time.monotonic() - last[1]

    return idle_for


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s: %(levelname)s] %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    threading.current_thread().name = "Scaler"
