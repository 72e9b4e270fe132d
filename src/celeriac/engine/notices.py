"""What a supervisor tells its shards while they run, and the pipe it goes through."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = [
    "AnyNotice",
    "NoticePipe",
    "Queues",
    "RateLimit",
    "Revoked",
    "Slots",
    "StampsRevoked",
    "TaskEvents",
    "Terminate",
    "TimeLimits",
]


class Queues(msgspec.Struct, frozen=True, tag=True):
    """Claim from these queues from now on."""

    names: tuple[str, ...]


class Revoked(msgspec.Struct, frozen=True, tag=True):
    """Jobs with these ids must not start."""

    ids: Sequence[str]


class StampsRevoked(msgspec.Struct, frozen=True, tag=True):
    """Jobs that carry one of these values under one of these names must not start; no others as yet."""

    stamps: dict[str, list[Any]]


class TimeLimits(msgspec.Struct, frozen=True, tag=True):
    """Jobs of this name get these limits, in seconds, unless they bring their own."""

    name: str
    soft: float | None
    hard: float | None


class RateLimit(msgspec.Struct, frozen=True, tag=True):
    """So many jobs of this name may start in a time, as its executor writes it; None: any number."""

    name: str
    rate: str | float | None


class Slots(msgspec.Struct, frozen=True, tag=True):
    """Run so many jobs at a time from now on; those too many finish first."""

    count: int


class Terminate(msgspec.Struct, frozen=True, tag=True):
    """The jobs with these ids are to end now, if they run. What others are told was sent them: a signal."""

    ids: Sequence[str]
    signum: int


class TaskEvents(msgspec.Struct, frozen=True, tag=True):
    """Whether each job is to be told about."""

    wanted: bool


AnyNotice = Queues | Revoked | StampsRevoked | TimeLimits | RateLimit | Slots | TaskEvents | Terminate

_LENGTH = struct.Struct("<I")
_CHUNK = 65536
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AnyNotice).decode


def _checked(notice: AnyNotice) -> bytes:
    """Return the notice's bytes if they can be read back: whoever asked is to fail, not every shard."""
    try:
        frame = _encode(notice)
        _decode(frame)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError) as error:
        raise TypeError(f"not to be told to any shard: {error}") from None
    return frame


class NoticePipe:
    """One way from a supervisor to one shard; made before the fork, so that neither misses anything.

    What the pipe cannot take at once is kept until ``flush``: a shard may be busy for long.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._unsent = bytearray()
        self._received = bytearray()
        self._lock = threading.Lock()

    # -- In the supervisor

    def send(self, notice: AnyNotice) -> None:
        """Let the shard know; at once, unless the pipe is full.

        Raises TypeError for what the shard could not read.
        """
        frame = _checked(notice)
        self._unsent += _LENGTH.pack(len(frame)) + frame
        self.flush()

    def flush(self) -> None:
        """Send what the pipe could not take before."""
        while self._unsent:
            try:
                sent = os.write(self._write_end, self._unsent)
            except BlockingIOError:
                return
            except BrokenPipeError:  # the shard is dead
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def shard_started(self) -> None:
        """Leave reading to the shard, which has its own copy of this end."""
        os.close(self._read_end)

    def close(self) -> None:
        """Give the pipe back once the shard is dead."""
        os.close(self._write_end)

    # -- In the shard

    def read(self) -> list[AnyNotice]:
        """Return what has come since the last time; any thread may call it."""
        with self._lock:
            try:
                while chunk := os.read(self._read_end, _CHUNK):
                    self._received += chunk
            except BlockingIOError:
                pass
            return self._take_frames() if self._received else []

    def _take_frames(self) -> list[AnyNotice]:
        notices = []
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            end = _LENGTH.size + length
            if len(self._received) < end:
                break
            notices.append(_decode(bytes(self._received[_LENGTH.size : end])))
            del self._received[:end]
        return notices
