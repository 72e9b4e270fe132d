"""The four bodies that every contender runs, counted without asking the broker."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from rig.tally import Tally

__all__ = ["BODIES", "BROKER_URL", "RESULTS_URL", "sleep_without_thread"]

BROKER_URL = os.environ["BENCH_BROKER"]
#: Where results are stored, empty if they are not.
RESULTS_URL = os.environ["BENCH_RESULTS"]

_tally = Tally(Path(os.environ["BENCH_TALLY"]))
#: Some libraries store no ``None``, others warn of a value that nobody stores.
_RESULT = 1 if RESULTS_URL else None


def noop() -> int | None:
    """Do nothing."""
    _tally.count()
    return _RESULT


def take(_payload: str) -> int | None:
    """Do nothing with an argument of some size."""
    _tally.count()
    return _RESULT


def pause(seconds: float) -> int | None:
    """Wait, as a task does that asks a server."""
    time.sleep(seconds)
    _tally.count()
    return _RESULT


def stamp(index: int) -> int | None:
    """Note when the message with this number was started."""
    _tally.stamp(index)
    _tally.count()
    return _RESULT


async def sleep_without_thread(seconds: float) -> int | None:
    """Do as ``pause`` does in an event loop."""
    await asyncio.sleep(seconds)
    _tally.count()
    return _RESULT


BODIES: dict[str, Callable[..., int | None]] = {"noop": noop, "take": take, "pause": pause, "stamp": stamp}
