"""What a shard has started and not yet settled, in memory that outlives its SIGKILL.

The supervisor makes one anonymous shared mapping for each shard before it forks. The shard alone
writes it; the supervisor reads it once the shard is dead, so no lock is needed: a record's state byte
is written last when it begins and first when it ends.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from celeriac.core.lease import Eviction

__all__ = ["Entry", "Journal"]

_FREE = 0
_REPEATABLE = 1
_AT_MOST_ONCE = 2
_FINISHED = 3
_ANNOUNCED = 4

#: State, length of the lease id, the id, whether suspect, unused, deadline in monotonic seconds (0: none).
_RECORD = struct.Struct("<BB47s?6xd")
_BODY = struct.Struct("<B47s?6xd")
_DEADLINE = struct.Struct("<d")
_DEADLINE_AT = _RECORD.size - _DEADLINE.size
#: Length of the note about what is running.
_NOTE = struct.Struct("<I")
_NOTE_MAX = 16384


class Entry(msgspec.Struct, frozen=True):
    """One started delivery, as the supervisor finds it."""

    lease: str
    at_most_once: bool
    finished: bool
    #: Monotonic seconds after which its process is to be killed; 0: never.
    deadline: float
    #: Had its workers die before, and is held to be why if this one dies too.
    suspect: bool = False
    #: Finished in that it was told to be terminated; its body may still run.
    announced: bool = False


class Journal:
    """A fixed number of records; at most ``slots`` deliveries may be started and unsettled."""

    def __init__(self, slots: int, note_max: int = _NOTE_MAX) -> None:
        """``note_max`` is the most bytes that a note may have."""
        self._notes_at = slots * _RECORD.size
        self.note_max = note_max
        self._retired_at = self._notes_at + _NOTE.size + note_max
        self._signal_at = self._retired_at + 1
        self._memory = mmap.mmap(-1, self._signal_at + 1)
        self._free = [slot * _RECORD.size for slot in reversed(range(slots))]

    # -- In the shard

    def begin(self, lease: str, *, at_most_once: bool, deadline: float = 0.0, suspect: bool = False) -> int:
        """Note that the delivery is about to run; return its slot."""
        slot = self._free.pop()
        name = lease.encode("ascii")
        _BODY.pack_into(self._memory, slot + 1, len(name), name, suspect, deadline)
        self._memory[slot] = _AT_MOST_ONCE if at_most_once else _REPEATABLE
        return slot

    def end(self, slot: int) -> None:
        """Note that the body has ended, so that its time limit holds no longer."""
        _DEADLINE.pack_into(self._memory, slot + _DEADLINE_AT, 0.0)

    def finish(self, slot: int) -> None:
        """Note that nothing of the delivery is left to run or to store."""
        self._memory[slot] = _FINISHED

    def announce(self, slot: int) -> None:
        """Note that others have been told of its termination: whatever its body still does, it is done."""
        self._memory[slot] = _ANNOUNCED

    def settle(self, slot: int) -> None:
        """Forget the delivery: the broker has settled it."""
        self._memory[slot] = _FREE
        self._free.append(slot)

    def note(self, text: bytes) -> None:
        """Say what is running, for those who ask the supervisor; empty: nothing worth telling.

        A text that is too long counts as empty.
        """
        if len(text) > self.note_max:
            text = b""
        start = self._notes_at + _NOTE.size
        _NOTE.pack_into(self._memory, self._notes_at, 0)
        self._memory[start : start + len(text)] = text
        _NOTE.pack_into(self._memory, self._notes_at, len(text))

    def retire(self) -> None:
        """Say that the shard claims no more and another is to take its place while it finishes."""
        self._memory[self._retired_at] = 1

    def expect_signal(self, signum: int) -> None:
        """Say that this signal, about to be sent, is for the running job and not for its process.

        The supervisor says so too.
        """
        self._memory[self._signal_at] = signum

    def take_signal(self) -> int:
        """Return the signal that was last sent to end the running job, once; 0 for none."""
        signum, self._memory[self._signal_at] = self._memory[self._signal_at], 0
        return signum

    # -- In the supervisor

    @property
    def retired(self) -> bool:
        """Whether the shard has said so."""
        return self._memory[self._retired_at] == 1

    def read_note(self) -> bytes:
        """Return the latest note; may be torn while the shard writes it."""
        (length,) = _NOTE.unpack_from(self._memory, self._notes_at)
        start = self._notes_at + _NOTE.size
        return self._memory[start : start + length]

    def entries(self) -> Iterator[Entry]:
        """Yield what was started and not settled; exact once the shard is dead."""
        states = self._memory[: self._notes_at : _RECORD.size]
        for index in [index for index, state in enumerate(states) if state != _FREE]:
            record = _RECORD.unpack_from(self._memory, index * _RECORD.size)
            state, length, name, suspect, deadline = record
            if state != _FREE:
                once, finished = state == _AT_MOST_ONCE, state in (_FINISHED, _ANNOUNCED)
                yield Entry(name[:length].decode(), once, finished, deadline, suspect, state == _ANNOUNCED)

    def eviction(
        self,
        owner: str,
        *,
        reason: str,
        counted: bool = True,
        condemned: Mapping[str, str] = MappingProxyType({}),
    ) -> Eviction:
        """Return what becomes of the dead shard's leases.

        What was running goes back, counted as one more delivery unless told otherwise; or, if it
        must not run twice, is forfeited for ``reason``; or, if it is ``condemned``, for the reason
        given there. Where a suspect was running, it alone is counted.
        """
        entries = list(self.entries())
        running = [entry for entry in entries if not entry.finished]
        suspects = [entry for entry in running if entry.suspect]
        forfeited = {entry.lease: reason for entry in running if entry.at_most_once}
        forfeited |= {entry.lease: condemned[entry.lease] for entry in running if entry.lease in condemned}
        return Eviction(
            owner=owner,
            finished=frozenset(entry.lease for entry in entries if entry.finished),
            interrupted=frozenset(
                entry.lease for entry in suspects or running if counted and entry.lease not in forfeited
            ),
            forfeited=forfeited,
        )

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
