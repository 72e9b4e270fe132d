"""The inbox, statement by statement, on one database; each is part of the transaction that is open there.

What every idempotent task executes is written by hand: the ORM takes longer to make such a statement than
the database takes to execute it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model
from django.db.models.constants import OnConflict
from django.utils import timezone

from celeriac.core.errors import ConfigurationError
from celeriac.django.model_ref import ModelRef
from celeriac.django.old_rows import delete_first

__all__ = ["Kept", "add", "database", "delete_before", "find", "key_text", "set_result"]

_COLUMNS: Final = ("consumer", "key", "fingerprint", "result", "created")
_LONGEST: Final = 255
#: What every database compares as it is written; MySQL takes "A" for "a", unless told otherwise.
_PLAIN: Final = re.compile(r"[a-z0-9_.:/%-]{1,255}")


class Kept(NamedTuple):
    """What is known of something that was done."""

    fingerprint: str
    #: As JSON; None if there is none.
    result: str | None


def database(using: str | None = None) -> str:
    """Return the alias of the database whose inbox is meant; without ``using`` the routers decide."""
    return using or router.db_for_write(_model())


def key_text(*parts: object) -> str:
    """Return a text of at most 255 characters that is the same for two keys exactly if they are.

    A row, or a reference to one, is known by model, primary key and database, whatever its version.
    """
    text = "/".join(_part(part).replace("%", "%25").replace("/", "%2f") for part in parts)
    if _PLAIN.fullmatch(text):
        return text
    return f"{text[: _LONGEST - 33]}#{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def add(using: str, consumer: str, key: str, fingerprint: str = "", result: str | None = None) -> bool:
    """Return True if nobody has added this key before, and False if somebody has.

    While somebody else's transaction that has added it is open, this waits for its end.
    """
    connection = connections[using]
    operations = connection.ops
    created = operations.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_insertion(operations), (consumer, key, fingerprint, result, created))
        return bool(cursor.rowcount == 1)


def find(using: str, consumer: str, key: str) -> Kept | None:
    """Return what is known of the key; None if it has not been added."""
    table, which = _place(connections[using].ops)
    with connections[using].cursor() as cursor:
        statement = f"SELECT fingerprint, result FROM {table} WHERE {which}"  # noqa: S608 - quoted names
        cursor.execute(statement, (consumer, key))
        found = cursor.fetchone()
    return None if found is None else Kept(*found)


def set_result(using: str, consumer: str, key: str, result: str | None) -> None:
    """The key, which this transaction has added, has this result, as JSON."""
    table, which = _place(connections[using].ops)
    with connections[using].cursor() as cursor:
        statement = f"UPDATE {table} SET result = %s WHERE {which}"  # noqa: S608 - quoted names
        cursor.execute(statement, (result, consumer, key))


def delete_before(using: str, moment: datetime, limit: int) -> int:
    """Delete up to ``limit`` of the entries older than ``moment``; return how many these were."""
    old = _model()._base_manager.using(using).filter(created__lt=moment)
    return delete_first(old.order_by("created"), limit)


def _part(part: object) -> str:
    if isinstance(part, Model) and part.pk is not None:
        return f"{part._meta.label_lower}:{part.pk}:{part._state.db or DEFAULT_DB_ALIAS}"
    if isinstance(part, ModelRef):
        return f"{part.label}:{part.pk}:{part.db}"
    return str(part)


def _model() -> Any:
    """Return the model, which nobody can import before Django is set up."""
    try:
        return apps.get_model("celeriac", "InboxEntry")
    except LookupError:
        raise ConfigurationError(
            "there is no inbox: add 'celeriac.django' to INSTALLED_APPS and run manage.py migrate"
        ) from None


def _place(operations: Any) -> tuple[str, str]:
    """Return the table and the condition that finds a key in it, quoted."""
    quote = operations.quote_name
    return quote(_model()._meta.db_table), f"{quote('consumer')} = %s AND {quote('key')} = %s"


def _insertion(operations: Any) -> str:
    quote = operations.quote_name
    columns = ", ".join(map(quote, _COLUMNS))
    places = ", ".join(["%s"] * len(_COLUMNS))
    into = operations.insert_statement(on_conflict=OnConflict.IGNORE)
    suffix = operations.on_conflict_suffix_sql((), OnConflict.IGNORE, (), ())
    return f"{into} {quote(_model()._meta.db_table)} ({columns}) VALUES ({places}) {suffix}"
