"""The fields of a row as Django's serializers write them, for when the row itself is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.serializers.python import Deserializer, Serializer
from django.db.models import Field, Model

from celeriac.core.errors import MalformedReference

if TYPE_CHECKING:
    from celeriac.django.model_ref import ModelRef

__all__ = ["from_snapshot", "take_snapshot"]


def take_snapshot(instance: Model) -> dict[str, Any]:
    """Return the values of the instance's own fields and of those it inherits; nothing of other rows."""
    serializer = Serializer()
    serializer.start_serialization()
    serializer.start_object(instance)
    for field in _fields(type(instance)):
        serializer.handle_field(instance, field)  # of a relation too: its key, never a natural one
    return dict(serializer._current or {})


def from_snapshot(reference: ModelRef) -> Model:
    """Return an instance with the fields that travelled, and never save it.

    Fields that the model no longer has are left out, new ones have their defaults. The instance counts as
    not saved (``instance._state.adding``). Raises :class:`MalformedReference` if the fields do not fit.
    """
    given = reference.snapshot or {}
    # A list where a key of another row belongs would be looked up as a natural key.
    fields = {
        field.name: given[field.name]
        for field in _fields(reference.model)
        if field.name in given and not (field.remote_field and isinstance(given[field.name], list))
    }
    pk = list(reference.pk) if isinstance(reference.pk, tuple) else reference.pk
    node = {"model": reference.label, "pk": pk, "fields": fields}
    try:
        [found] = Deserializer([node], using=reference.db, ignorenonexistent=True)
    except Exception as error:
        # Fields raise what they like for values that are none of theirs; the task fails with this error.
        raise MalformedReference(f"what travelled of {reference} does not fit its model: {error}") from error
    instance: Model = found.object
    instance._state.db = reference.db
    return instance


def _fields(model: type[Model]) -> list[Field[Any, Any]]:
    own = model._meta.pk_fields
    return [field for field in model._meta.concrete_fields if field not in own and not field.generated]
