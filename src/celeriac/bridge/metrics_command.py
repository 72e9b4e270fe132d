"""The command ``celeriac metrics``."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus
from typing import Any

import click

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.find_app import broker_of, find_app
from celeriac.bridge.listener import EventListener
from celeriac.bridge.metrics import message_sent_at
from celeriac.core.errors import ConfigurationError
from celeriac.observe.dashboard import dashboard
from celeriac.observe.event_counts import EventCounts
from celeriac.observe.metrics import Exposition, Sources
from celeriac.observe.prometheus import prometheus_client
from celeriac.observe.rules import rules
from celeriac.observe.server import MetricsServer

__all__ = ["metrics"]

_PORT = 9540


@click.command(short_help="Serve metrics of a whole broker.")
@click.pass_obj
@click.option("--port", type=click.IntRange(0, 65_535), default=_PORT, show_default=True, help="0: any.")
@click.option("--host", help="The address to listen on; else the setting metrics_host.")
@click.option("--queue", "queues", multiple=True, help="Watch this queue too; may be repeated.")
@click.option("--events/--no-events", default=True, help="Count what workers tell in Celery's events.")
@click.option("--queues-only", is_flag=True, help="Leave tasks and workers to the workers' own ports.")
@click.option("--compatible", is_flag=True, help="Add the names of celery-exporter and of Flower.")
@click.option("--once", is_flag=True, help="Print what would be scraped, and end.")
@click.option("--dashboard", "wants_dashboard", is_flag=True, help="Print a dashboard for Grafana, and end.")
@click.option("--rules", "wants_rules", is_flag=True, help="Print alert rules for Prometheus, and end.")
def metrics(app: Any, /, wants_dashboard: bool, wants_rules: bool, **options: Any) -> None:
    """Serve metrics of a whole broker: its queues, its workers and their tasks.

    One process for all workers. It asks the broker, and sends nothing to workers: those with
    metrics_port or metrics_share tell the broker of themselves every few seconds. Without them it
    listens to events, if workers send any (-E).

    \b
    Example:
      celeriac -A proj metrics --port 9540
      celeriac metrics --rules > celeriac.rules.yml
    """
    if wants_dashboard or wants_rules:
        if wants_dashboard and wants_rules:
            raise click.UsageError("--dashboard and --rules are two files: ask for one of them at a time")
        click.echo(dashboard() if wants_dashboard else rules(), nl=False)
        return
    _serve(find_app(app), **options)


def _serve(
    app: Any,
    port: int,
    host: str | None,
    queues: Sequence[str],
    events: bool,
    once: bool,
    **shown: bool,
) -> None:
    prometheus_client()
    settings = read_settings(app)
    if getattr(app, "framework", None) is not None:
        app.loader.import_default_modules()  # which sets Django up, as it does in a worker
    counts = EventCounts()
    watched = tuple(dict.fromkeys((*app.amqp.queues, *queues)))
    with closing(broker_of(app)) as broker:
        exposition = Exposition(
            Sources(
                broker=broker,
                queues=lambda: watched,
                sent_at=partial(message_sent_at, app.due_time),
                heard=lambda: counts.reports(time.time()),
                backlogs=getattr(app, "outbox_backlogs", None),
            ),
            max_tasks=settings.metrics_max_tasks,
            compatible=shown["compatible"] or settings.metrics_compatible,
            queues_only=shown["queues_only"],
        )
        if once:
            click.echo(exposition.page("")[2].decode(), nl=False)
            return
        if events and not shown["queues_only"]:
            EventListener(app, counts).start()
        exposition.collect()  # arrivals are counted from here on
        server = _server(host or settings.metrics_host, port, exposition)
        click.echo(f"Metrics at http://{server.address}/metrics, watching {', '.join(watched)}", err=True)
        _until_told()
        server.close()


def _server(host: str, port: int, exposition: Exposition) -> MetricsServer:
    pages = {"/metrics": exposition.page, "/live": _alive, "/ready": _alive}
    try:
        server = MetricsServer(host, port, pages)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("set metrics_port to", "take --port with")) from None
    server.start()
    return server


def _alive(_accept: str) -> tuple[int, str, bytes]:
    return HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n"


def _until_told() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return
