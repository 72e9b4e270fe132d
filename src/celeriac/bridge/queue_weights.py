"""``-Q high:3,low:1``: weights of queues, told apart from their names."""

from __future__ import annotations

from collections.abc import Container, Iterable

import msgspec

from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import Settings

__all__ = ["parse_queues", "with_weights"]


def parse_queues(words: Iterable[str], defined: Container[str]) -> tuple[list[str], dict[str, float]]:
    """Return the queues' names, and the weights of those that were given one.

    What follows the last colon is a weight if it is a number, unless a queue of the whole name is
    defined. Raises :class:`ConfigurationError` for a weight that is not above zero.
    """
    names: list[str] = []
    weights: dict[str, float] = {}
    for word in words:
        name, colon, number = word.rpartition(":")
        weight = _number(number)
        if not (colon and name) or weight is None or word in defined:
            names.append(word)
            continue
        if not 0 < weight < float("inf"):
            raise ConfigurationError(f"-Q {word}: a weight is a number above zero, as in -Q high:3,low:1")
        names.append(name)
        weights[name] = weight
    return names, weights


def with_weights(settings: Settings, weights: dict[str, float]) -> Settings:
    """Return the settings of a worker whose queues were given these weights on its command line."""
    if not weights:
        return settings
    return msgspec.structs.replace(
        settings,
        engine_queue_order="weighted",
        engine_queue_weights={**settings.engine_queue_weights, **weights},
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
