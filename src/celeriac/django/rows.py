"""Reads the rows that references name: one query for each model and database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.db import router
from django.db.models import Model

from celeriac.django.model_ref import ModelRef

__all__ = ["database_to_lock", "read_rows"]


def read_rows(references: Iterable[ModelRef], *, lock: bool = False) -> dict[ModelRef, Model]:
    """Return the instance for each reference whose row exists; equal references have one instance.

    With ``lock`` the rows are locked until the transaction ends, in the order of models and keys, so that
    two tasks that lock the same rows wait for each other instead of blocking each other.
    """
    asked: defaultdict[tuple[str, str], list[ModelRef]] = defaultdict(list)
    for one in references:
        asked[one.label, database_to_lock(one) if lock else one.db].append(one)
    found: dict[ModelRef, Model] = {}
    for (_, database), group in sorted(asked.items(), key=lambda item: item[0]):
        rows = group[0].model._base_manager.using(database).order_by("pk")
        if lock:
            rows = rows.select_for_update()
        instances = rows.in_bulk({one.pk for one in group})
        found |= {one: instances[one.pk] for one in group if one.pk in instances}
    return found


def database_to_lock(reference: ModelRef) -> str:
    """Return the database in which the row can be locked, as it may have been read from a copy."""
    probe = reference.model()
    probe._state.db = reference.db
    alias: str = router.db_for_write(reference.model, instance=probe)
    return alias
