"""What a shard says of the job it runs, so that its supervisor can tell of it and find it."""

from __future__ import annotations

import msgspec

__all__ = ["Note", "read_notes", "write_notes"]


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One job that has been running for a moment."""

    #: The lease it runs under, and the job's own id.
    lease: str
    id: str
    #: What the executor says of it.
    text: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Note]).decode


def write_notes(notes: list[Note]) -> bytes:
    """Return the bytes of the notes; none for no notes."""
    return _encode(notes) if notes else b""


def read_notes(data: bytes) -> list[Note]:
    """Return the notes; none if the bytes were read while they were being written."""
    try:
        return _decode(data) if data else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
