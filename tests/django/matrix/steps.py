"""Every step at which a process may die, and where it is in the code of whoever takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from tests.django.matrix.ledger import Ledger
from tests.django.matrix.traps import Traps

__all__ = ["Step", "install", "steps"]

#: Of the transaction that changes a row and calls the task.
ORDER = ("before insert", "after insert", "before commit", "in commit", "after commit")
#: Of whoever publishes after the commit: the same process, or a relay.
SENDING = ("claimed", "mid publish", "published", "before settling", "in settling", "settled")
WORK = (
    *("received", "before inbox", "before effect", "after effect"),
    *("before effect commit", "in effect commit", "effect committed", "before ack", "acked"),
)
#: Where the whole node dies with the worker: its lease has to run out.
NODE = ("received", "after effect", "effect committed")
#: Taken by the parent of Celery's own worker, with which everything dies.
_PARENT = frozenset({"received", "before ack", "acked"})
_JSON = frozenset({"application/json"})


@dataclass(frozen=True)
class Step:
    """Who is where when something happens, and what it is."""

    role: str
    name: str
    #: Who dies: "process", or "node"; or another of the faults.
    victim: str = "process"

    def __str__(self) -> str:
        return f"{self.role} {self.name}{'' if self.victim == 'process' else f' ({self.victim})'}"

    @property
    def trap(self) -> str:
        return f"{self.role} {self.name}"


def steps(kind: str, *, stock_worker: bool) -> list[Step]:
    """Return all steps that there are for a kind of project."""
    sending = SENDING if kind == "celeriac" else ("claimed", "published")
    settling = [name for name in SENDING if name not in ("mid publish",)]
    producer = [*ORDER, *([] if kind == "django-celery-outbox" else sending)]
    relay = {"celeriac": sending, "django-celery-outbox": settling}.get(kind, ())
    work = [name for name in WORK if kind == "celeriac" or name != "before inbox"]
    found = [Step("producer", name) for name in producer] + [Step("relay", name) for name in relay]
    if stock_worker:
        found += [Step("worker", name, "node" if name in _PARENT else "process") for name in work]
        return found + [Step("worker", name, "node") for name in NODE if name not in _PARENT]
    return found + [Step("worker", name) for name in work] + [Step("worker", name, "node") for name in NODE]


def install(traps: Traps, ledger: Ledger, kind: str, *, stock_worker: bool) -> None:
    """Put the steps where they belong; processes forked later have them."""
    _install_commits(traps)
    if kind == "celeriac":
        _install_outbox(traps)
        _install_inbox(traps, ledger)
        _hasten(traps)
    else:
        _install_publishing(traps)
    if stock_worker:
        _install_stock_worker(traps, ledger)
    else:
        _install_engine(traps, ledger)


def _install_commits(traps: Traps) -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper

    names = {
        "order": ("before commit", "in commit", "after commit"),
        "settling": ("before settling", "in settling", "settled"),
        "effect": ("before effect commit", "in effect commit", "effect committed"),
    }
    real = BaseDatabaseWrapper._commit

    def commit(self: Any) -> Any:
        before, within, after = names.get(traps.commits, ("", "", ""))
        traps.commits = ""
        for step in filter(None, (before, within)):
            traps.reach(step)
        answer = real(self)
        if after:
            traps.reach(after)
        return answer

    BaseDatabaseWrapper._commit = commit


def _install_outbox(traps: Traps) -> None:
    from celeriac.bridge.broker_outlet import BrokerOutlet
    from celeriac.bridge.kombu_outlet import KombuOutlet
    from celeriac.bridge.outlet import AppOutlet

    def published() -> None:
        traps.reach("published")
        traps.commits = "settling"

    _around(AppOutlet, "publish", lambda: traps.reach("claimed"), published)
    _around(KombuOutlet, "_send", _nothing, lambda: traps.reach("mid publish"))
    whole = BrokerOutlet._send

    def in_parts(self: Any, items: Any, refusals: Any) -> None:
        if not traps.is_laid("mid publish"):
            whole(self, items, refusals)
            return
        for item in items:
            whole(self, [item], refusals)
            traps.reach("mid publish")

    BrokerOutlet._send = in_parts  # type: ignore[method-assign]


def _install_inbox(traps: Traps, ledger: Ledger) -> None:
    from celeriac.bridge.django.inbox_step import InboxStep

    real = InboxStep.run

    def run(self: Any, call: Any, proceed: Any) -> Any:
        ledger.note("delivered", call.args[0])
        traps.reach("before inbox")
        return real(self, call, proceed)

    InboxStep.run = run  # type: ignore[method-assign]


def _hasten(traps: Traps) -> None:
    """What has died is replaced at once, however often it dies."""
    from celeriac.bridge.django import relay_step
    from celeriac.engine import supervisor

    supervisor._SHORT_LIFE = 0.0
    supervisor._PAUSE = 0.02
    relay_step.LOOK = 0.05  # type: ignore[misc]
    real = relay_step.run_relay

    def run_relay(app: Any) -> None:
        traps.role = "relay"
        real(app)

    relay_step.run_relay = run_relay


def _install_publishing(traps: Traps) -> None:
    """Celery's own way to the broker; a relay settles after it."""
    from kombu.messaging import Producer

    def published() -> None:
        traps.reach("published")
        if traps.role == "relay":
            traps.commits = "settling"

    _around(Producer, "publish", lambda: traps.reach("claimed"), published)


def _install_engine(traps: Traps, ledger: Ledger) -> None:
    from celeriac.brokers.redis import RedisBroker
    from celeriac.brokers.sqlite import SqliteBroker

    for broker in (RedisBroker, SqliteBroker):
        _around(broker, "ack", lambda: traps.reach("before ack"), lambda: traps.reach("acked"))
        _install_claim(broker, traps, ledger)


def _install_claim(broker: type[Any], traps: Traps, ledger: Ledger) -> None:
    from celeriac.bridge.wire import decode

    real = broker.claim

    @wraps(real)
    def claim(self: Any, *arguments: Any, ack: Any = (), **options: Any) -> Any:
        if ack:
            traps.reach("before ack")
        claimed = real(self, *arguments, ack=ack, **options)
        if ack:
            traps.reach("acked")
        for lease in claimed.leases:
            ledger.note("received", str(decode(lease.message.payload, _JSON).args[0]))
        if claimed.leases:
            traps.reach("received")
        return claimed

    broker.claim = claim


def _install_stock_worker(traps: Traps, ledger: Ledger) -> None:
    from celery.concurrency.asynpool import AsynPool
    from celery.worker.request import Request

    # It looks every five seconds for children that have died, when it was not told of it.
    AsynPool.timers = property(lambda self: {self.maintain_pool: 0.05})

    _around(Request, "acknowledge", lambda: traps.reach("before ack"), lambda: traps.reach("acked"))
    real = Request.__init__

    def received(self: Any, message: Any, *arguments: Any, **options: Any) -> None:
        real(self, message, *arguments, **options)
        ledger.note("received", message.payload[0][0])
        traps.reach("received")

    Request.__init__ = received


def _nothing() -> None:
    pass


def _around(owner: Any, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    real = getattr(owner, name)

    @wraps(real)
    def stepped(*arguments: Any, **options: Any) -> Any:
        before()
        answer = real(*arguments, **options)
        after()
        return answer

    setattr(owner, name, stepped)
