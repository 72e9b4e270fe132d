"""When a message was published: its delivery tag, a UUID of version 7, begins with the time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import time_ns
from typing import Any

__all__ = ["TagStart", "new_tag", "sent_at"]


class TagStart:
    """The first 24 characters of one thread's delivery tags; the last 12 are a number.

    With numbers that go on from a random one, no other thread or process has the same.
    """

    def __init__(self) -> None:
        digits = os.urandom(4).hex()
        self._random = f"7{digits[:3]}-{'89ab'[int(digits[3], 16) & 3]}{digits[4:7]}-".encode()
        self._made_at = 0
        self._start = b""

    def now(self) -> bytes:
        """Return how a tag made now begins."""
        now = time_ns() // 1_000_000
        if now != self._made_at:
            self._made_at = now
            self._start = b"%08x-%04x-%b" % (now >> 16, now & 0xFFFF, self._random)
        return self._start


def new_tag() -> str:
    """Return a delivery tag that no message has."""
    return f"{TagStart().now().decode()}{os.urandom(6).hex()}"


def sent_at(properties: Mapping[str, Any]) -> float | None:
    """Return the Unix seconds at which a message with these properties was published, if they say."""
    tag = properties.get("delivery_tag")
    if not isinstance(tag, str) or len(tag) != 36 or tag[14] != "7":
        return None
    try:
        return int(tag[:8] + tag[9:13], 16) / 1000
    except ValueError:
        return None
