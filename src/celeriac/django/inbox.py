"""What is to have its effect only once: ``once`` for any code, and keys for services elsewhere.

For a whole task there is ``@shared_task(idempotent=True)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import UUID, uuid5

from django.db import transaction

from celeriac.core.errors import ConfigurationError
from celeriac.django import inbox_table

__all__ = ["doing", "idempotency_key", "once"]

_NAMESPACE: Final = UUID("5a0c4b0e-59f1-4c07-8f4b-6f9b0c8e3b1d")
_doing: ContextVar[tuple[str, str] | None] = ContextVar("celeriac_doing", default=None)


@contextmanager
def once(consumer: str, *key: object, using: str | None = None) -> Iterator[bool]:
    """The block is told whether it is the first one for this key that comes to its end.

    It runs in a transaction, of its own or as part of the one that is open; what it changes in that database
    and the fact that it has been done are committed together, or neither is. If another transaction is
    at it, this one waits for its end. ``using`` names the database.
    """
    database = inbox_table.database(using)
    text = inbox_table.key_text(*key)
    with transaction.atomic(using=database), doing(consumer, text):
        yield inbox_table.add(database, consumer, text)


def idempotency_key(step: str = "") -> str:
    """Return a key to hand to a service elsewhere: the same whenever this is run again, a UUID as text.

    ``step`` tells several requests of one task apart. Raises :class:`ConfigurationError` outside of an
    idempotent task and of ``once``.
    """
    current = _doing.get()
    if current is None:
        raise ConfigurationError(
            "nothing idempotent runs here: ask for a key in a task with idempotent=True, or in once(...)"
        )
    return str(uuid5(_NAMESPACE, "\0".join((*current, step))))


@contextmanager
def doing(consumer: str, key: str) -> Iterator[None]:
    """Keys that are asked for in the block belong to this."""
    token = _doing.set((consumer, key))
    try:
        yield
    finally:
        _doing.reset(token)
