"""What the outbox costs a transaction, how fast a relay is, and how soon a call is at the broker.

Example: .venv/bin/python benchmarks/outbox.py --orders 500 --rows 20000
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import django

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.django.servers import postgres_server  # noqa: E402
from tests.servers import redis_server  # noqa: E402
from tests.setting import write_run  # noqa: E402


@click.command(context_settings={"show_default": True})
@click.option("--orders", default=500, help="Transactions of each kind.")
@click.option("--rows", default=20_000, help="Messages for the relay.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results/outbox.json"
)
def main(orders: int, rows: int, file: Path) -> None:
    """Measure, print, and keep the raw figures."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis = stack.enter_context(redis_server())
        databases = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/shop.db"},
            "postgres": stack.enter_context(postgres_server()),
        }
        _set_up(databases, redis.url)
        figures = {alias: _measure(alias, redis.url, orders, rows) for alias in databases}
    for alias, found in figures.items():
        for name, value in found.items():
            print(f"{alias:9} {name:48} {value:12,.3f}")
    write_run(file, {"orders": orders, "rows": rows}, figures)


def _set_up(databases: dict[str, Any], url: str) -> None:
    os.environ |= {
        "DATABASES": json.dumps(databases),
        "BROKER": url,
        "DJANGO_SETTINGS_MODULE": "tests.django.settings",
    }
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    for alias in databases:
        call_command("migrate", database=alias, verbosity=0)
    with connections["default"].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")


def _measure(alias: str, url: str, orders: int, rows: int) -> dict[str, float]:
    import celery

    from celeriac import Celery

    def make(kind: Any, queue: str, **configuration: Any) -> Any:
        app = kind(queue, broker=url, set_as_current=False)
        if kind is Celery:
            app.config_from_object("django.conf:settings", namespace="CELERY")
        app.conf.update(task_default_queue=queue, task_ignore_result=True, **configuration)
        task = app.task(name="ship", shared=False)(_ship)
        app.finalize()
        return task

    outbox = make(Celery, "outbox")
    left = make(Celery, "left")
    left.app.framework.desk.outbox._fast_path.leave = lambda *_: None
    left.app.framework.desk.outbox._fast_path.held_until = lambda _: None
    plain = make(Celery, "plain", outbox_enabled=False)
    stock = make(celery.Celery, "stock")
    found: dict[str, float] = {}
    kinds: dict[str, Callable[[], Any]] = {
        "only the order": lambda: None,
        "order and outbox, left to the relay": lambda: left.delay(1, name="x"),
        "order and outbox, sent after the commit": lambda: outbox.delay(1, name="x"),
        "order and on_commit, celeriac": lambda: plain.delay_on_commit(1, name="x"),
        "order and on_commit, celery": lambda: _on_commit(alias, stock),
    }
    times = _interleaved(alias, kinds, orders)
    base = statistics.median(times["only the order"])
    for name, values in times.items():
        found[f"ms {name}, median"] = statistics.median(values)
        if name != "only the order":
            found[f"ms added: {name}"] = statistics.median(values) - base
    _empty(alias)
    found |= _inserts(alias, left, orders)
    found |= _latency(alias, outbox, left, url, orders)
    _empty(alias)
    found |= _relay(alias, left, rows)
    return found


def _ship(number: int, name: str) -> None:
    pass


def _on_commit(alias: str, task: Any) -> None:
    from django.db import transaction

    transaction.on_commit(lambda: task.delay(1, name="x"), using=alias)


def _interleaved(alias: str, kinds: dict[str, Callable[[], Any]], orders: int) -> dict[str, list[float]]:
    """In turns, so that whatever else the machine does concerns all alike."""
    from django.db import transaction
    from tests.django.shop.models import Order

    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(orders + 20):
        for name, call in kinds.items():
            began = time.perf_counter()
            with transaction.atomic(alias):
                Order.objects.using(alias).create(name="x")
                call()
            if number >= 20:
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def _inserts(alias: str, task: Any, number: int) -> dict[str, float]:
    """The row alone: compiled SQL against the ORM, both within one transaction."""
    from django.db import transaction
    from django.utils import timezone

    from celeriac.core.message import Message
    from celeriac.core.outbox import Outgoing
    from celeriac.django.models import OutboxMessage

    outbox = task.app.framework.desk.outbox
    one = Outgoing(id="x" * 36, task="ship", message=Message(queue="left", payload=b"x" * 900))
    found = {}

    def orm() -> None:
        row = OutboxMessage(task_id=one.id, task=one.task, queue="left", created=timezone.now())
        row.payload = one.message.payload
        OutboxMessage.objects.using(alias).bulk_create([row])

    for name, insert in (("compiled", lambda: outbox.add(alias, [one])), ("bulk_create", orm)):
        times = []
        with transaction.atomic(alias):
            for _ in range(number):
                began = time.perf_counter()
                insert()
                times.append((time.perf_counter() - began) * 1000)
            transaction.set_rollback(True, alias)
        found[f"ms one row, {name}"] = statistics.median(times)
    with transaction.atomic(alias):
        times = []
        for _ in range(number):
            began = time.perf_counter()
            task.delay(1, name="x")
            times.append((time.perf_counter() - began) * 1000)
        transaction.set_rollback(True, alias)
    found["ms one .delay() inside a transaction"] = statistics.median(times)
    return found


def _latency(alias: str, outbox: Any, left: Any, url: str, orders: int) -> dict[str, float]:
    """From the beginning of the commit until a consumer has the message."""
    import redis
    from django.db import connections, transaction

    client = redis.Redis.from_url(url)
    client.delete("outbox", "left")
    found = {}
    stop = threading.Event()

    def relay() -> None:
        relays = left.app.framework.desk.relays(alias)
        relays.run(stop.is_set)
        connections.close_all()

    thread = threading.Thread(target=relay)
    thread.start()
    for name, task, queue in (("fast path", outbox, "outbox"), ("relay", left, "left")):
        waits = []
        arrived: list[float] = []

        def listen(queue: str = queue, arrived: list[float] = arrived) -> None:
            for _ in range(orders):
                client.brpop([queue])
                arrived.append(time.perf_counter())

        listener = threading.Thread(target=listen)
        listener.start()
        for number in range(orders):
            with transaction.atomic(alias):
                task.delay(1, name="x")
                committed = time.perf_counter()
            while len(arrived) <= number:
                time.sleep(0.0002)
            waits.append((arrived[number] - committed) * 1000)
            time.sleep(0.01)
        listener.join()
        ranked = statistics.quantiles(waits, n=100)
        found[f"ms from commit to broker, {name}, p50"] = ranked[49]
        found[f"ms from commit to broker, {name}, p99"] = ranked[98]
    stop.set()
    thread.join()
    return found


def _relay(alias: str, task: Any, rows: int) -> dict[str, float]:
    from django.db import transaction

    with transaction.atomic(alias):
        task.delay_many([(number, "x") for number in range(rows)])
    _release(alias)
    relays = task.app.framework.desk.relays(alias)
    began = time.perf_counter()
    relays.drain(lambda: False, 600)
    took = time.perf_counter() - began
    return {"messages a second, one relay": relays.relayed[alias] / took}


def _release(alias: str) -> None:
    from celeriac.django.models import OutboxMessage

    OutboxMessage.objects.using(alias).update(held_until=None)


def _empty(alias: str) -> None:
    from celeriac.django.models import OutboxMessage

    OutboxMessage.objects.using(alias).all().delete()


if __name__ == "__main__":
    main()
