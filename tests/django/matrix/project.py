"""What the processes of the project do, each forked from one that has imported all of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import django

from tests.django.matrix.app import KIND, app, call, charge, ledger, traps
from tests.django.matrix.steps import install

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import Error, connections, transaction  # noqa: E402

from tests.django.matrix.models import Effect, Order  # noqa: E402

__all__ = ["EMBEDDED", "STOCK_WORKER", "audit", "prepare", "produce", "relay", "set_up", "worker"]

STOCK_WORKER = KIND != "celeriac" or os.environ["BROKER"].startswith("amqp")
#: Whether the worker relays.
EMBEDDED = os.environ.get("EMBEDDED") == "1"


#: How often the servers are asked what there is.
_TRIES = 100


class _RolledBackError(Exception):
    pass


def prepare() -> None:
    """All is imported, and the steps are in their places; no connection is open."""
    install(traps, ledger, KIND, stock_worker=STOCK_WORKER)  # first, as tasks hold on to what they find
    app.finalize()
    app.loader.import_default_modules()


def set_up() -> None:
    """The database, which is a new one, has its tables."""
    call_command("migrate", verbosity=0, run_syncdb=True)


def produce(order: dict[str, Any]) -> str:
    """One web request; ``fast``: its process may publish right after the commit."""
    traps.role = "producer"
    if KIND == "celeriac":
        _let_publish(order["fast"])
    try:
        connections["default"].close_if_unusable_or_obsolete()
        _order(order)
    except Error as error:  # the request fails, and nobody knows more
        ledger.note("failed", order["key"])
        connections["default"].close()
        return str(error)
    finally:
        traps.commits = ""
    return "done"


def _order(order: dict[str, Any]) -> None:
    key = order["key"]
    ledger.note("began", key)
    with suppress(_RolledBackError), transaction.atomic():
        Order.objects.create(key=key, lane=order["lane"])
        traps.reach("before insert")
        transaction.on_commit(lambda: ledger.note("committed", key))
        call(key, order["lane"])
        traps.reach("after insert")
        if order["rolled_back"]:
            raise _RolledBackError
        traps.commits = "order"


def _let_publish(fast: bool) -> None:
    """Otherwise be like a process whose broker has just been away, and leave it to the relay."""
    breaker = app.framework.desk.outbox._fast_path._breaker
    breaker._failures, breaker._until = (0, 0.0) if fast else (1, float("inf"))


def relay() -> None:
    """Publish what is in the outbox until killed."""
    traps.role = "relay"
    if KIND == "celeriac":
        app.framework.desk.relays().run(lambda: False)
    else:
        call_command("celery_outbox_relay", idle_time=0.02, stale_timeout_seconds=2)


def worker() -> None:
    """Be the command ``celery worker``."""
    traps.role = "worker"
    options = ["-c", "1", "-l", "warning", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    app.worker_main(["worker", *options])


def audit(what: str) -> dict[str, Any]:
    """Return what is not done yet; or, once all is, everything there is; or how many consumers there are."""
    asked = {"everything": everything, "progress": progress, "consumers": consumers}[what]
    for _ in range(_TRIES):
        try:
            return asked()
        except Exception:  # whatever a server that was just restarted makes of an old connection
            connections["default"].close()
            time.sleep(0.05)
    return asked()


def progress() -> dict[str, Any]:
    """Count what has been committed without its effect so far, and what is on its way."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM matrix_order o WHERE NOT EXISTS"
            f" (SELECT 1 FROM matrix_effect e WHERE {_key('e')} = {_key('o')})"
        )
        missing = cursor.fetchone()[0]
        waiting = 0
        for table in _OUTBOXES.get(KIND, ()):
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            waiting += cursor.fetchone()[0]
    return {"missing": missing, "waiting": waiting, "queued": _queued()}


_OUTBOXES = {
    "celeriac": ("celeriac_outboxmessage",),
    "django-celery-outbox": ("celery_outbox",),
}


def _key(table: str) -> str:
    return f"{table}.{connections['default'].ops.quote_name('key')}"


def everything() -> dict[str, Any]:
    """Return orders with their lanes as they were committed, and how many effects each key has."""
    dead: list[str] = []
    if KIND == "celeriac":
        from celeriac.django.models import DeadOutboxMessage

        dead = list(DeadOutboxMessage.objects.values_list("error", flat=True))
    return {
        "orders": [list(row) for row in Order.objects.order_by("id").values_list("key", "lane")],
        "effects": dict(Counter(Effect.objects.values_list("key", flat=True))),
        "dead": dead,
    }


_count: list[Callable[[], int]] = []


def _queued() -> int:
    """How many messages are in the broker, as far as it tells."""
    if not _count:
        _count.append(_count_with_kombu if STOCK_WORKER else _count_with_broker())
    return _count[0]()


def consumers() -> dict[str, Any]:
    """Count who holds messages that RabbitMQ tells nobody of."""
    return {"consumers": int(_declared().consumer_count)}


def _count_with_kombu() -> int:
    return int(_declared().message_count)


def _declared() -> Any:
    with app.connection_for_read() as connection, connection.channel() as channel:
        return app.amqp.queues[charge.app.conf.task_default_queue](channel).queue_declare()


def _count_with_broker() -> Callable[[], int]:
    from celeriac.brokers.connect import open_broker

    broker = open_broker(app.conf.broker_url, dict(app.conf.broker_transport_options))
    queue = app.conf.task_default_queue

    def count() -> int:
        found = broker.stats([queue])[queue]
        return int(found.ready + found.leased + found.delayed)

    return count
