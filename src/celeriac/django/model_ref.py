"""What travels instead of a model instance: which row it is, at which version, and perhaps what was in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.apps import apps
from django.db import connections
from django.db.models import Field, Model

from celeriac.core.errors import MalformedReference

__all__ = ["MARKER", "ModelRef"]

#: What kombu's JSON calls the type.
MARKER: Final = "dj.ref"
_MOST_CHARACTERS: Final = 255
_MOST_INTEGER: Final = 1 << 63


class ModelRef:
    """Names one row and never reads it by itself; equal to others that name the same row and version."""

    __slots__ = ("db", "label", "pk", "snapshot", "version")

    def __init__(
        self,
        label: str,
        pk: Any,
        db: str,
        version: str | None = None,
        snapshot: Mapping[str, Any] | None = None,
    ) -> None:
        #: The model, as ``"shop.order"``.
        self.label = label
        #: As the model has it; of a composite key, a tuple.
        self.pk = pk
        #: The alias of its database.
        self.db = db
        #: As ``version_of`` has it, at the time of the call.
        self.version = version
        #: The fields as they were at the call, as Django's serializers have them.
        self.snapshot = snapshot

    @property
    def model(self) -> type[Model]:
        """The model; LookupError if there is none here."""
        found: type[Model] = apps.get_model(self.label)
        return found

    @property
    def row(self) -> tuple[str, Any, str]:
        """What is the same for all references to one row."""
        return self.label, self.pk, self.db

    def get(self) -> Model:
        """Return the row as it is now; the model's DoesNotExist if it is gone."""
        rows: Any = self.model._base_manager.using(self.db)
        row: Model = rows.get(pk=self.pk)
        return row

    def wire(self) -> dict[str, Any]:
        """Return it as plain data, which :meth:`from_wire` takes."""
        wire = {"m": self.label, "pk": _pk_to_wire(self.pk), "db": self.db}
        if self.version is not None:
            wire["v"] = self.version
        if self.snapshot is not None:
            wire["s"] = self.snapshot
        return wire

    @classmethod
    def from_wire(cls, wire: Any) -> ModelRef:
        """Return the reference, without a look into any database.

        Raises :class:`MalformedReference` for what is no reference to a row of a model and database of
        this project. Before Django is set up nobody knows, and models are checked when they are asked for.
        """
        if not isinstance(wire, dict):
            raise MalformedReference("a reference to a row is a mapping")
        label, db, version, snapshot = (wire.get(key) for key in ("m", "db", "v", "s"))
        if not isinstance(label, str) or not isinstance(db, str):
            raise MalformedReference("a reference to a row names its model and its database")
        if not (version is None or _is_text(version)):
            raise MalformedReference(f"the version of a row of {label!r} is a short text")
        if not (snapshot is None or isinstance(snapshot, dict)):
            raise MalformedReference(f"the fields of a row of {label!r} are a mapping")
        pk = wire.get("pk")
        pk = tuple(map(_checked, pk)) if isinstance(pk, list) else _checked(pk)
        return cls(label, _known(label, pk, db) if apps.ready else pk, db, version, snapshot)

    def __json__(self) -> dict[str, Any]:
        return {"__type__": MARKER, "__value__": self.wire()}

    def __key__(self) -> list[Any]:
        """What tells rows from each other in the keys of unique and limited tasks."""
        return [self.label, _pk_to_wire(self.pk), self.db]

    def __repr__(self) -> str:
        pk = self.pk if type(self.pk) is int else str(self.pk)
        return f"<{_class_name(self.label)} pk={pk}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelRef) and (self.row, self.version) == (other.row, other.version)

    def __hash__(self) -> int:
        return hash(self.row)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return ModelRef.from_wire, (self.wire(),)


def _known(label: str, pk: Any, db: str) -> Any:
    """Return the key as the model has it, if there are such a model and database here."""
    try:
        model: type[Model] = apps.get_model(label)
    except (LookupError, ValueError):
        raise MalformedReference(f"it refers to a row of {label!r}, which is no model here") from None
    if db not in connections.settings:
        raise MalformedReference(f"it refers to a row in the database {db!r}, which is none of DATABASES")
    fields = model._meta.pk_fields
    given = pk if isinstance(pk, tuple) else (pk,)
    if len(given) != len(fields) or isinstance(pk, tuple) != (len(fields) > 1):
        raise MalformedReference(f"{pk!r} is no primary key of {label!r}")
    try:
        values = tuple(_to_python(field, value) for field, value in zip(fields, given, strict=True))
    except Exception as error:
        # Fields raise what they like for what they cannot be; the message is buried with this as its reason.
        raise MalformedReference(f"{pk!r} is no primary key of {label!r}: {error}") from None
    return values if isinstance(pk, tuple) else values[0]


def _to_python(field: Field[Any, Any], value: Any) -> Any:
    while field.remote_field is not None:  # as a child's link to its parent
        field = field.target_field
    return field.to_python(value)


def _checked(value: Any) -> int | str:
    """Return the part of a key if it is one that databases take."""
    if type(value) is int and -_MOST_INTEGER <= value < _MOST_INTEGER:
        return value
    if _is_text(value):
        return str(value)
    raise MalformedReference(f"{str(value)[:50]!r} is no primary key")


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _pk_to_wire(pk: Any) -> Any:
    if isinstance(pk, tuple):
        return [_pk_to_wire(part) for part in pk]
    return pk if type(pk) in (int, str) else str(pk)


def _class_name(label: str) -> str:
    try:
        return str(apps.get_model(label).__name__)
    except (LookupError, ValueError, RuntimeError):
        return label
