"""The version of a row made from what is in it, for tables that cannot get a column."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.django.row_version import declare_version
from celeriac.django.snapshot import take_snapshot

__all__ = ["RowDigest"]


class RowDigest:
    """A digest of the row's fields: another one exactly if one of them has changed.

    A call reads the row for it, so that what its instance has in memory and not saved counts for nothing.
    A row that was changed and changed back is as it was.
    """

    def __init__(self, *, fields: tuple[str, ...] | None = None) -> None:
        """``fields`` are the names of those that count; None: all of them."""
        self.fields = fields

    def contribute_to_class(self, cls: type[Model], name: str) -> None:
        """The model's rows have versions; Django calls this for a class attribute."""
        setattr(cls, name, self)
        declare_version(cls, self)

    def read_at(self, instance: Model) -> str | None:
        values = take_snapshot(instance)
        if self.fields is not None:
            if missing := [field for field in self.fields if field not in values]:
                raise ConfigurationError(
                    f"RowDigest: {instance._meta.label} has no field {missing[0]!r}"
                    f"{did_you_mean(missing[0], values)}"
                )
            values = {field: values[field] for field in self.fields}
        text = json.dumps(values, cls=DjangoJSONEncoder, sort_keys=True)
        return f"d:{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def at_call(self, instance: Model) -> str | None:
        rows: Any = type(instance)._base_manager.using(instance._state.db or DEFAULT_DB_ALIAS)
        stored = rows.filter(pk=instance.pk).first()
        return None if stored is None else self.read_at(stored)
