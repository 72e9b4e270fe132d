"""Which calls are the same: the chosen arguments of a call as a short text."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.limits.rules import Key

__all__ = ["Signature", "fingerprint"]


class Signature:
    """The parameters of a task's function; of an unknown one, only keyword arguments have names."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._signature = None if function is None else inspect.signature(function)

    def check_names(self, names: Iterable[str]) -> None:
        """Return if all names are parameters; raise ConfigurationError for one that cannot be."""
        if self._signature is None:
            return
        known = self._signature.parameters
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
            return
        for name in names:
            if name not in known:
                raise ConfigurationError(f"the task has no argument {name!r}{did_you_mean(name, known)}")

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each parameter by its name, however it was given.

        A call that does not fit is told apart by what it gave: it fails by itself when it runs.
        """
        if self._signature is None:
            return {**kwargs, "": list(args)}
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return {**kwargs, "": list(args)}
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                values |= values.pop(name)
        return values

    def pick(self, key: Key, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return a text that is the same for two calls exactly if the key does not tell them apart."""
        if callable(key):
            return fingerprint(key(*args, **kwargs))
        if key is None:
            return ""
        return fingerprint(self._chosen(key, args, kwargs))

    def pick_all(self, names: Sequence[str] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The same for the named arguments, or for all of them."""
        return fingerprint(self.values(args, kwargs) if names is None else self._chosen(names, args, kwargs))

    def _chosen(self, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        values = self.values(args, kwargs)
        missing = [name for name in names if name not in values]
        if missing and self._signature is None:
            raise ConfigurationError(
                f"the task is not known here, so that {missing[0]!r} must be given by its name"
            )
        return [values.get(name) for name in names]


def fingerprint(value: Any) -> str:
    """Return 32 hexadecimal digits that are the same for two values exactly if their JSON is."""
    try:
        text = msgspec.json.encode(value, enc_hook=_as_json, order="deterministic")
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"a call cannot be told from others by {type(value).__name__} ({error}): "
            "name arguments that are plain data"
        ) from None
    return hashlib.sha256(text).hexdigest()[:32]


def _as_json(value: Any) -> Any:
    # What tells it from others may be less than what is written of it.
    convert = getattr(value, "__key__", None) or getattr(value, "__json__", None)
    if convert is None:
        raise TypeError(f"{type(value).__name__} is no plain data")
    return convert()
