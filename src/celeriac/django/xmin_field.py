"""PostgreSQL's own version of a row, for tables that cannot get a column."""

from __future__ import annotations

from typing import Any, Final

from django.core import checks
from django.db import connections
from django.db.models import Field, Model

from celeriac.django.row_version import declare_version

__all__ = ["XminField"]

_HAS_XMIN: Final = "postgresql"


class XminField(Field):
    """The number of the transaction that has last written the row: PostgreSQL's ``xmin``.

    It is there in every table, so that its migration changes nothing. It is another one after a dump
    is restored, and may return after 4 billion transactions. Read it, and never write to it.
    """

    #: The database makes it: it is part of no INSERT and no UPDATE, and comes back from an INSERT.
    generated = True
    db_returning = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(editable=False, blank=True, db_column="xmin", serialize=False)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        for option in ("editable", "blank", "db_column", "serialize"):
            kwargs.pop(option, None)
        return name, path, args, kwargs

    def db_type(self, connection: Any) -> str | None:  # noqa: ARG002 - Django's signature
        """Return None: no migration makes this column."""
        return None

    def contribute_to_class(self, cls: type[Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only=private_only)
        declare_version(cls, self)

    def from_db_value(self, value: Any, *_: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> str | None:
        value = super().get_prep_value(value)
        # As text it is compared as a transaction's number; an integer only goes up to half of them.
        return None if value is None else str(value)

    def read_at(self, instance: Model) -> str | None:
        return f"x:{getattr(instance, self.attname)}"

    def at_call(self, instance: Model) -> str | None:
        return self.read_at(instance)

    def expected(self, instance: Model) -> dict[str, Any]:
        """Return the filter that finds the row if it is still as the instance was read."""
        return {self.attname: getattr(instance, self.attname)}

    def next_value(self) -> None:
        """Return None: PostgreSQL sets it."""

    def saved(self, instance: Model, using: str) -> None:
        """The instance is at the version that its UPDATE has made, in whose transaction this is called."""
        rows: Any = type(instance)._base_manager.using(using)
        setattr(instance, self.attname, rows.values_list(self.attname, flat=True).get(pk=instance.pk))

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = super().check(**kwargs)
        if any(connections[alias].vendor != _HAS_XMIN for alias in kwargs.get("databases") or ()):
            found.append(
                checks.Error(
                    f"{self.model._meta.label} has an XminField, which only PostgreSQL has.",
                    hint="Declare a VersionField, or a RowDigest where the table cannot change.",
                    obj=self,
                    id="celeriac.E102",
                )
            )
        return found
