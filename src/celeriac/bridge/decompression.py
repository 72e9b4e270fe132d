"""Compressed bodies, unpacked up to a limit, so that no small message can fill a worker's memory."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from kombu.compression import get_decoder

from celeriac.core.errors import MalformedMessage

__all__ = ["MOST_BYTES", "decompressed"]

#: More than any body that a worker can sensibly hold beside what it makes of it.
MOST_BYTES = 128 << 20


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool:
        """Whether the end of the packed data was reached."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most so many bytes of what the data unpacks to."""
        ...


#: By kombu's function, whatever content type it is registered under.
_UNPACKERS: dict[object, Callable[[], _Unpacker]] = {
    zlib.decompress: zlib.decompressobj,
    bz2.decompress: bz2.BZ2Decompressor,
    lzma.decompress: lzma.LZMADecompressor,
}


def decompressed(data: bytes, compression: str) -> bytes:
    """Return what kombu's decoder of this name makes of the data.

    Raises :class:`MalformedMessage` for more than ``MOST_BYTES``, and whatever the decoder raises; those
    that kombu knows beside gzip, bzip2 and lzma have no limit.
    """
    decoder = get_decoder(compression)
    unpacker_type = _UNPACKERS.get(decoder)
    if unpacker_type is None:
        return bytes(decoder(data))
    unpacker = unpacker_type()
    unpacked = unpacker.decompress(data, MOST_BYTES)
    if unpacker.eof:
        return unpacked
    if len(unpacked) < MOST_BYTES:
        raise MalformedMessage("its compressed body is cut off")
    raise MalformedMessage(f"its body unpacks to more than {MOST_BYTES >> 20} MiB")
