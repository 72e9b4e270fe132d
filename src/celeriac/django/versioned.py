"""Rows of which no save overwrites a newer one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, Self, runtime_checkable

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from celeriac.core.errors import ConfigurationError, StaleObject
from celeriac.django.row_version import declared_version, version_of
from celeriac.django.version_field import VersionField

__all__ = ["STALE_MESSAGE", "Versioned"]

#: What the users of forms and of the admin are told.
STALE_MESSAGE: Final = _(
    "%(name)s was changed by somebody else in the meantime. Open it again and repeat your changes."
)


@runtime_checkable
class _Comparable(Protocol):
    """A version that an UPDATE can compare and set: a ``VersionField`` or an ``XminField``."""

    model: type[Model]

    def expected(self, instance: Model) -> dict[str, Any]: ...
    def next_value(self) -> Any: ...
    def saved(self, instance: Model, using: str) -> None: ...


class Versioned(Model):
    """Mixed into a model with a ``VersionField`` or an ``XminField``: each save compares, then writes.

    One UPDATE does both, and a row that has changed since it was read is left as it is. It is for
    instances: ``QuerySet.update`` and ``bulk_update`` compare nothing, and leave a VersionField as it is
    unless they set it, as ``update(status="paid", version=F("version") + 1)``.
    """

    class Meta:
        abstract = True

    def save_base(self, raw: bool = False, *args: Any, using: str | None = None, **options: Any) -> None:
        """Save, or raise :class:`~celeriac.core.errors.StaleObject` and change nothing.

        An enclosing transaction goes on. Fixtures (``raw``) are written as they are.
        """
        database = using or self._state.db or DEFAULT_DB_ALIAS
        connection = transaction.get_connection(database)
        broken = connection.needs_rollback
        try:
            with self._one_transaction(database):
                super().save_base(raw, *args, using=database, **options)
        except StaleObject:
            if connection.in_atomic_block and not broken:
                # No statement has failed: its UPDATE has found no row, and a parent's was undone.
                transaction.set_rollback(False, using=database)
            raise

    def compare_and_save(self, *, fields: Iterable[str] | None = None, using: str | None = None) -> None:
        """The named fields, or all, are written over the row that the instance was read from.

        Raises :class:`~celeriac.core.errors.StaleObject`, and changes nothing, if it has changed since or
        is gone.
        """
        if self._state.adding:
            raise ValueError(f"{self._meta.label} is not saved, so that there is nothing to compare: save it")
        if fields is None:
            self.save(force_update=True, using=using)
        else:
            self.save(update_fields=list(fields), using=using)

    def refresh(self) -> Self:
        """The instance has what is in its row now; what was changed in memory and not saved is lost."""
        self.refresh_from_db()
        return self

    def clean(self) -> None:
        """Return if the row is as the user has seen it, for forms that have the version as hidden field."""
        super().clean()
        if self._state.adding:
            return
        now = type(self)._base_manager.using(self._state.db).filter(pk=self.pk).first()
        if now is None or version_of(now) != version_of(self):
            name = str(self._meta.verbose_name).capitalize()
            raise ValidationError(STALE_MESSAGE, code="stale", params={"name": name})

    def _one_transaction(self, database: str) -> AbstractContextManager[Any]:
        """Several statements count as one; a VersionField of a single table needs only one."""
        single = not self._meta.concrete_model._meta.parents
        if single and isinstance(self._comparable_version(), VersionField):
            return nullcontext()
        several: AbstractContextManager[Any] = transaction.atomic(using=database)
        return several

    def _comparable_version(self) -> _Comparable:
        version = declared_version(type(self))
        if not isinstance(version, _Comparable):
            label = self._meta.label
            raise ConfigurationError(f"{label} is Versioned: give it a VersionField or an XminField")
        return version

    def _save_table(
        self, raw: bool = False, cls: Any = None, force_insert: Any = False, *args: Any, **options: Any
    ) -> Any:
        self._state.written_as_is = raw
        if self._state.adding and not raw and cls is self._comparable_version().model:
            force_insert = True  # what was never read has no version to compare, so it overwrites nothing
        return super()._save_table(raw, cls, force_insert, *args, **options)

    def _do_update(self, base_qs: Any, using: str, pk_val: Any, values: Any, *rest: Any) -> Any:
        version = self._comparable_version()
        if self._state.written_as_is or base_qs.model is not version.model:
            return super()._do_update(base_qs, using, pk_val, values, *rest)
        values = [one for one in values if one[0] is not version]
        if (next_value := version.next_value()) is not None:
            values.append((version, None, next_value))
        expected = version_of(self)
        unchanged = base_qs.filter(**version.expected(self))
        updated = super()._do_update(unchanged, using, pk_val, values, *rest)
        if not updated:
            now = type(self)._base_manager.using(using).filter(pk=self.pk).first()
            raise StaleObject(self._meta.label, self.pk, expected, now and version_of(now))
        version.saved(self, using)
        return updated
