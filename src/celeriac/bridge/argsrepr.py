"""Celery's short text of a task's arguments, for the arguments that most tasks have."""

from __future__ import annotations

from typing import Any, Final

from celery.utils.saferepr import saferepr

__all__ = ["short_repr"]

_NUMBERS: Final = frozenset({int, float, bool})
#: Containers inside containers; Celery's own default stops at three.
_LEVELS: Final = 2


class _NotPlainError(Exception):
    """Only Celery's own function knows the text."""


def short_repr(value: Any, limit: int, levels: int) -> str:
    """Return what ``saferepr(value, limit, levels)`` does, ten times faster for plain values."""
    if levels == 0 or levels > _LEVELS:
        try:
            text = _plain(value, _LEVELS)
        except _NotPlainError:
            pass
        else:
            if len(text) < limit:
                return text
    return str(saferepr(value, limit, maxlevels=levels))


def _plain(value: Any, levels: int) -> str:
    kind = type(value)
    if kind is str:
        text: str = value.replace("'", "\\'")
        return f"'{text}'"
    if kind in _NUMBERS:
        return str(value)
    if value is None:
        return "None"
    if not levels:
        raise _NotPlainError
    if kind is tuple or kind is list:
        inner = ", ".join([_plain(item, levels - 1) for item in value])
        if kind is list:
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if kind is dict:
        pairs = [f"{_key(key)}: {_plain(item, levels - 1)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    raise _NotPlainError


def _key(key: Any) -> str:
    if type(key) is not str:
        raise _NotPlainError
    return _plain(key, 0)
