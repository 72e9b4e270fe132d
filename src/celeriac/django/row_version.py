"""The version of a row: a short text that is another one after every change of the row."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

from django.db.models import Model

__all__ = ["RowVersion", "declare_version", "declared_version", "version_at_call", "version_of"]

_ATTRIBUTE: Final = "_celeriac_version"


@runtime_checkable
class RowVersion(Protocol):
    """How the rows of one model tell their versions; declared as an attribute of the model.

    That is a ``VersionField``, an ``XminField`` or a ``RowDigest``.
    """

    def read_at(self, instance: Model) -> str | None:
        """Return the version that the instance was read or last saved at; None if it is in no table."""
        ...

    def at_call(self, instance: Model) -> str | None:
        """Return the version that a call now refers to."""
        ...


def declare_version(model: type[Model], version: RowVersion) -> None:
    """The rows of the model, and of models that inherit from it, have versions."""
    setattr(model, _ATTRIBUTE, version)


def declared_version(model: type[Model]) -> RowVersion | None:
    """Return what the model declares; None if its rows have no versions."""
    found: RowVersion | None = getattr(model, _ATTRIBUTE, None)
    return found


def version_of(instance: Model) -> str | None:
    """Return the version that the instance was read or last saved at; None if its model declares none."""
    version = declared_version(type(instance))
    return None if version is None else version.read_at(instance)


def version_at_call(instance: Any) -> str | None:
    """Return the version that a call with this instance refers to; None if its model declares none."""
    version = declared_version(type(instance))
    return None if version is None else version.at_call(instance)
