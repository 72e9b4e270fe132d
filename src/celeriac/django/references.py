"""References in place of model instances, wherever they are in the arguments of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from celeriac.core.errors import MalformedReference, UnreferableObject
from celeriac.django.model_ref import ModelRef
from celeriac.django.row_version import version_at_call
from celeriac.django.snapshot import take_snapshot

__all__ = ["ReferenceRules", "is_flat", "reference", "references_in", "replaced"]

_LEAVES: Final = frozenset({str, int, float, bool, bytes, type(None)})
#: What a signature has as a mapping: it is a call of its own, whose arguments wait for it.
_SIGNATURE: Final = frozenset({"task", "args", "kwargs", "options", "subtask_type"})


def reference(instance: Model, *, snapshot: bool = False) -> ModelRef:
    """Return what names the instance's row at its present version.

    With ``snapshot`` its fields travel, too, and are given to the task if the row is gone by then. Raises
    :class:`~celeriac.core.errors.UnreferableObject` for an instance that is not saved.
    """
    label, name = instance._meta.label_lower, instance._meta.label
    pk = instance.pk
    if instance._state.adding or not instance._is_pk_set():
        raise UnreferableObject(f"{name} is not saved: save it before it is handed to a task")
    try:
        apps.get_model(label)
    except LookupError:
        raise UnreferableObject(f"{name} belongs to no installed app: hand its values to the task") from None
    found = ModelRef(
        label,
        pk,
        instance._state.db or DEFAULT_DB_ALIAS,
        version_at_call(instance),
        take_snapshot(instance) if snapshot else None,
    )
    try:
        arrived = ModelRef.from_wire(found.wire())
    except (MalformedReference, ValidationError) as error:
        raise UnreferableObject(f"{name} cannot be handed to a task: {error}") from None
    if str(arrived.pk) != str(pk) and arrived.pk != instance._meta.pk.to_python(pk):
        raise UnreferableObject(f"{name} has a primary key that no text says: hand its values to the task")
    found.pk = arrived.pk
    return found


class ReferenceRules:
    """Which models may be referred to."""

    def __init__(self, forbidden: Iterable[str]) -> None:
        """``forbidden`` are labels as ``"sessions.session"``, or all of an app's as ``"sessions.*"``."""
        self._forbidden = frozenset(label.lower() for label in forbidden)

    def allows(self, label: str) -> bool:
        """Whether rows of the model, as ``"shop.order"``, may be handed to tasks."""
        app = label.partition(".")[0]
        return label not in self._forbidden and f"{app}.*" not in self._forbidden

    def outgoing(self, value: Any) -> Any:
        """Return the value with a reference for each instance in it; the value itself if there is none.

        Raises :class:`~celeriac.core.errors.UnreferableObject` for an instance that cannot travel.
        """
        if isinstance(value, tuple | list | dict) and is_flat(value):
            return value
        return replaced(value, self._refer)

    def refer(self, instance: Model) -> ModelRef:
        """Return the reference that stands for the instance."""
        return self._checked(reference(instance))

    def arrived(self, wire: Any) -> ModelRef:
        """Return the reference that has arrived; raise :class:`MalformedReference` if it may not be used."""
        found = ModelRef.from_wire(wire)
        if not self.allows(found.label):
            raise MalformedReference(f"it refers to a row of {found.label!r}, which is forbidden here")
        return found

    def _refer(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self.refer(value)
        return self._checked(value) if type(value) is ModelRef else value

    def _checked(self, found: ModelRef) -> ModelRef:
        if not self.allows(found.label):
            raise UnreferableObject(
                f"rows of {found.label!r} are not handed to tasks, as references_forbidden says: "
                "hand over what the task needs of them"
            )
        return found


def is_flat(values: Sequence[Any] | Mapping[str, Any]) -> bool:
    """Whether there is nothing but texts, numbers and the like, as in the arguments of most calls."""
    return _LEAVES.issuperset(map(type, values.values() if isinstance(values, dict) else values))


def references_in(value: Any) -> Iterator[ModelRef]:
    """Give the references in the value, however deep; not those that wait in a signature."""
    kind = type(value)
    if kind is ModelRef:
        yield value
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in _LEAVES:
                yield from references_in(item)
    elif kind is dict and not value.keys() >= _SIGNATURE:
        for item in value.values():
            if type(item) not in _LEAVES:
                yield from references_in(item)


def replaced(value: Any, swap: Callable[[Any], Any], *, within_signatures: bool = True) -> Any:
    """Return the value with what ``swap`` gives for each of its leaves; itself if they all stay the same."""
    if isinstance(value, list | tuple):
        items = [_replaced_item(item, swap, within_signatures) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else _as_tuple(type(value), items)
    if isinstance(value, dict):
        if not within_signatures and value.keys() >= _SIGNATURE:
            return value
        pairs = {key: _replaced_item(item, swap, within_signatures) for key, item in value.items()}
        return value if all(pairs[key] is item for key, item in value.items()) else pairs
    return swap(value)


def _replaced_item(item: Any, swap: Callable[[Any], Any], within_signatures: bool) -> Any:
    if type(item) in _LEAVES:
        return item
    return replaced(item, swap, within_signatures=within_signatures)


def _as_tuple(kind: type[tuple[Any, ...]], items: list[Any]) -> tuple[Any, ...]:
    return kind(*items) if hasattr(kind, "_fields") else tuple(items)
