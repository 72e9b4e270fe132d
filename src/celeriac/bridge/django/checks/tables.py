"""Whether the tables of Celeriac are in the databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router

__all__ = ["check_tables"]

_APP = "celeriac"


def check_tables(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E030: a table is missing. A database that does not answer is no matter of this check."""
    missing: list[CheckMessage] = []
    for alias in databases or [DEFAULT_DB_ALIAS]:
        names = sorted(_missing(alias))
        if names:
            missing.append(
                Error(
                    f"The database {alias!r} has no table {', '.join(names)}.",
                    hint=f"Run: python manage.py migrate {_APP} --database {alias}",
                    id="celeriac.E030",
                )
            )
    return missing


def _missing(alias: str) -> Iterator[str]:
    models = [model for model in apps.get_app_config(_APP).get_models() if _belongs(model, alias)]
    try:
        present = set(connections[alias].introspection.table_names())
    except DatabaseError:
        return
    yield from (model._meta.db_table for model in models if model._meta.db_table not in present)


def _belongs(model: Any, alias: str) -> bool:
    return model._meta.managed and bool(router.allow_migrate_model(alias, model))
