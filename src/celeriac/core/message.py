"""What travels: an opaque payload and the three facts a broker needs about it."""

from __future__ import annotations

import msgspec

__all__ = ["Message"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One task message, as bytes that no broker ever looks into.

    The payload is kombu's JSON envelope (body, headers, properties) on every broker, so that a
    message may move between brokers, and to the dead letters and back, byte for byte.
    """

    queue: str
    payload: bytes
    #: 0 to 9; 0 is served first, as kombu's Redis transport has it.
    priority: int = 0
    #: Unix seconds before which the message must not be claimed; None: at once.
    due: float | None = None
