"""What a brain has learnt, as bytes that a later life of it goes on with.

The bytes hold values only, by the names of attributes. They are put into a brain that today's code has
made, and only if it has the same attributes of the same kinds: another version begins anew, and nothing
in the file can run.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import Any

import msgspec
import numpy as np

from celeriac.deploy.scaling.brain import Brain
from celeriac.deploy.scaling.view import Due, Firing

__all__ = ["Unreadable", "recall", "remember"]

_ARRAY, _OBJECT, _TUPLE, _DEQUE = "array", "object", "tuple", "deque"
#: What is told to a brain at each start, and is not remembered.
_TOLD = {"aims"}
#: Tuples with names that may be among what was learnt.
_RECORDS: dict[str, Any] = {record.__name__: record for record in (Due, Firing)}


class Unreadable(Exception):
    """What was remembered is not of this version."""


def remember(brain: Brain) -> bytes:
    """Return all that the brain has learnt."""
    return zlib.compress(msgspec.msgpack.encode(_values(brain)), 1)


def recall(brain: Brain, memory: bytes) -> None:
    """Let a new brain know what another had learnt; raise Unreadable, and leave it new, if it cannot."""
    try:
        values = msgspec.msgpack.decode(zlib.decompress(memory), strict=False)
        restored = _attributes(brain, values)
    except (zlib.error, msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(str(error)) from None
    vars(brain).update(restored)


def _plain(value: Any) -> Any:
    """Return the value as lists, numbers, texts, and mappings of one key, which says what it is."""
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_ARRAY: [str(value.dtype), list(value.shape), value.tobytes()]}
    if isinstance(value, deque):
        return {_DEQUE: [value.maxlen, [_plain(each) for each in value]]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        name = type(value).__name__
        return {_RECORDS[name].__name__: [_plain(each) for each in value]}
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(each) for each in value]}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(each)] for key, each in value.items()]}
    return {_OBJECT: _values(value)}


def _values(thing: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(thing).items() if name not in _TOLD}


def _attributes(thing: Any, values: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in vars(thing).items() if name not in _TOLD}
    if set(own) != set(values):
        raise ValueError(f"{type(thing).__name__} has other attributes")
    return {name: _restored(value, values[name]) for name, value in own.items()}


def _restored(new: Any, value: Any) -> Any:
    """Return the value as one of the kind that the new brain has there."""
    if isinstance(value, dict) and _OBJECT in value:
        attributes = _attributes(new, value[_OBJECT])
        vars(new).update(attributes)
        return new
    made = _made(value)
    if isinstance(new, int | float) != isinstance(made, int | float):
        raise ValueError(f"{made!r} is not of the kind of {new!r}")
    if isinstance(new, np.ndarray) and (made.dtype != new.dtype or made.ndim != new.ndim):
        raise ValueError("an array is of another kind")
    return made


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(each) for each in value]
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    if kind == _ARRAY:
        dtype, shape, content = held
        return np.frombuffer(content, dtype=dtype).reshape(shape).copy()
    if kind == _DEQUE:
        return deque((_made(each) for each in held[1]), maxlen=held[0])
    if kind == _TUPLE:
        return tuple(_made(each) for each in held)
    if kind in _RECORDS:
        return _RECORDS[kind](*map(_made, held))
    return {_made(key): _made(each) for key, each in held}
