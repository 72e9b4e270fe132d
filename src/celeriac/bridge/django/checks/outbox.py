"""Whether calls made inside transactions go into the outbox, and whether those transactions suit it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info
from django.core.checks import Warning as Warned

from celeriac.bridge.configuration import read_settings
from celeriac.core.errors import ConfigurationError

__all__ = ["check_outbox_for_deployment", "check_transactions"]


def check_transactions(app: Any) -> list[CheckMessage]:
    """W031: SQLite may refuse a transaction half-way. E032: calls in views cannot tell their transaction."""
    return [*_check_sqlite(), *_check_requests()] if _outbox_is_on(app) else []


def check_outbox_for_deployment(app: Any) -> list[CheckMessage]:
    """W033: the outbox is off. I034: calls in views without a transaction are sent at once."""
    if _outbox_is_on(app):
        return [*_suggest_atomic_requests()]
    return [
        Warned(
            "The outbox is off: a task called inside a transaction is sent before the commit, also if "
            "there will be none.",
            hint="Set CELERY_OUTBOX_ENABLED to True.",
            id="celeriac.W033",
        )
    ]


def _outbox_is_on(app: Any) -> bool:
    try:
        return read_settings(app).outbox_enabled
    except ConfigurationError:
        return True  # what is wrong is said by the check of settings


def _check_sqlite() -> Iterator[CheckMessage]:
    for alias, database in settings.DATABASES.items():
        mode = (database.get("OPTIONS") or {}).get("transaction_mode")
        if str(database.get("ENGINE", "")).endswith(".sqlite3") and str(mode).upper() != "IMMEDIATE":
            yield Warned(
                f"Transactions on the SQLite database {alias!r} take the write lock only when they first "
                "write, and fail with 'database is locked' if another process has written since.",
                hint=f"Put 'transaction_mode': 'IMMEDIATE' into the OPTIONS of DATABASES[{alias!r}].",
                id="celeriac.W031",
            )


def _check_requests() -> Iterator[CheckMessage]:
    atomic = [alias for alias, database in settings.DATABASES.items() if database.get("ATOMIC_REQUESTS")]
    if len(atomic) > 1:
        yield Error(
            f"Every view has transactions on several databases open ({', '.join(atomic)}), so that a task "
            "called there needs using='...' to say which one it belongs to.",
            hint="Set ATOMIC_REQUESTS for one database only, or pass using= with every call.",
            id="celeriac.E032",
        )


def _suggest_atomic_requests() -> Iterator[CheckMessage]:
    if not any(database.get("ATOMIC_REQUESTS") for database in settings.DATABASES.values()):
        yield Info(
            "Views have no transaction of their own: a task called outside of atomic() is sent at once, "
            "even if the view fails afterwards.",
            hint="Set ATOMIC_REQUESTS for the database, or call tasks inside atomic().",
            id="celeriac.I034",
        )
