"""What a task asks of the whole fleet: to be unique, to start so often, to run so many times at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, Literal, get_args

import msgspec

from celeriac.core.errors import ConfigurationError, did_you_mean

__all__ = [
    "Concurrency",
    "Key",
    "Rate",
    "Unique",
    "Window",
    "as_concurrency",
    "as_rate",
    "as_unique",
    "parse_rate",
]

#: Names of arguments, or a function of all of them whose value tells one key from another.
Key = tuple[str, ...] | Callable[..., Any] | None
Until = Literal["started", "done", "expiry"]
Duplicate = Literal["existing", "drop", "raise"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_MOST_SECONDS: Final = 365 * 86_400


class Unique(msgspec.Struct, frozen=True):
    """No second call with the same arguments is accepted while the first one counts."""

    #: Names of the arguments that make two calls the same; None: all of them.
    args: tuple[str, ...] | None = None
    #: Seconds after which the first call no longer counts, whatever became of it.
    within: float = 3600.0
    #: What ends it earlier: its start, its end, or nothing.
    until: Until = "done"
    #: What the second call gets: the first one's result object, one that says DUPLICATE, or an error.
    duplicate: Duplicate = "existing"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "args", _names("args", self.args))
        if isinstance(self.within, bool) or not isinstance(self.within, int | float):
            raise ConfigurationError(f"within is {self.within!r}; it must be a number of seconds")
        if not 0 < self.within <= _MOST_SECONDS:
            raise ConfigurationError(f"within is {self.within!r}; it must be between 0 and a year of seconds")
        _one_of("until", self.until, get_args(Until))
        _one_of("duplicate", self.duplicate, get_args(Duplicate))

    def __json__(self) -> dict[str, Any]:
        """What stands for it in the message of a signature that carries it as an option."""
        return msgspec.structs.asdict(self)


class Rate(msgspec.Struct, frozen=True):
    """At most so many starts in any window of time, of all workers together: ``Rate("100/s")``."""

    rate: str | int | float
    #: What has a limit of its own.
    key: Key = None
    #: Tasks with the same name share the limit; None: the task's own.
    name: str | None = None

    def __post_init__(self) -> None:
        parse_rate(self.rate)
        msgspec.structs.force_setattr(self, "key", _key(self.key))


class Concurrency(msgspec.Struct, frozen=True):
    """At most so many run at the same time, on all workers together: ``Concurrency(3)``."""

    limit: int
    #: What has a limit of its own.
    key: Key = None
    #: Tasks with the same name share the limit; None: the task's own.
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            raise ConfigurationError(
                f"max_concurrency is {self.limit!r}; it must be a whole number from 1 up"
            )
        msgspec.structs.force_setattr(self, "key", _key(self.key))


class Window(msgspec.Struct, frozen=True):
    """So many in so many seconds."""

    limit: int
    seconds: float


def parse_rate(rate: Any) -> Window:
    """Return what Celery's spelling of a rate means: a number for each second, or ``"10/s"``, ``/m``, ``/h``.

    Raises :class:`ConfigurationError` for anything else, and for a rate that lets nothing start.
    """
    number, unit = rate, "s"
    if isinstance(rate, str):
        number, slash, unit = rate.partition("/")
        unit = unit.strip() if slash else "s"
    try:
        if isinstance(number, bool):
            raise TypeError
        share = Fraction(str(number).strip()).limit_denominator(10_000)
        window = Window(share.numerator, float(_UNITS[unit] * share.denominator))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        window = Window(0, 0)
    if window.limit < 1 or window.limit > 1_000_000_000:
        raise ConfigurationError(
            f"global_rate_limit is {rate!r}; write a positive rate as '100/s', '100/m' or '100/h'"
        )
    return window


def as_unique(value: Any) -> Unique | None:
    """Return what ``unique=`` means: True, False, None, a :class:`Unique`, or its fields as a mapping."""
    if value is None or value is False:
        return None
    if value is True:
        return Unique()
    if isinstance(value, Unique):
        return value
    if isinstance(value, Mapping):
        fields = dict(value)
        for name in fields:
            if name not in Unique.__struct_fields__:
                known = did_you_mean(str(name), Unique.__struct_fields__)
                raise ConfigurationError(f"unique has no field {name!r}{known}")
        return Unique(**fields)
    raise ConfigurationError(f"unique is {value!r}; write True or Unique(args=('order_id',), within=3600)")


def as_rate(value: Any) -> Rate | None:
    """Return what ``global_rate_limit=`` means: None, Celery's spelling of a rate, or a :class:`Rate`."""
    if value is None or isinstance(value, Rate):
        return value
    return Rate(value)


def as_concurrency(value: Any) -> Concurrency | None:
    """Return what ``max_concurrency=`` means: None, a whole number, or a :class:`Concurrency`."""
    if value is None or isinstance(value, Concurrency):
        return value
    return Concurrency(value)


def _one_of(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        known = did_you_mean(str(value), allowed)
        raise ConfigurationError(f"{field} is {value!r}{known}; it must be one of {', '.join(allowed)}")


def _names(field: str, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"{field} is {names!r}; write names of arguments as a tuple: ('order_id',)")
    return tuple(names)


def _key(key: Any) -> Key:
    return key if callable(key) else _names("key", key)
