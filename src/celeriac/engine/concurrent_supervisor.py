"""A supervisor whose shards run many deliveries at a time: there is one of them, and a count of slots."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

from celeriac.engine.notices import Slots, Terminate
from celeriac.engine.shard import ShardSpec
from celeriac.engine.supervisor import Supervisor, new_spec

__all__ = ["ConcurrentSupervisor"]

#: A shard can be told to run so many at a time, or so many times what it began with.
_ROOM_LEAST, _ROOM_TIMES = 1000, 4


class ConcurrentSupervisor(Supervisor):
    """What is counted, grown and shrunk is the slots; what is terminated ends alone, not with its process."""

    def __init__(self, *args: Any, slots: int, **options: Any) -> None:
        super().__init__(*args, count=1, **options)
        self._slots = slots
        self._slots_max = max(_ROOM_LEAST, _ROOM_TIMES * slots)

    @property
    def count(self) -> int:
        return self._slots

    @property
    def busy(self) -> int:
        return len(self.running())

    def resize(self, count: int) -> None:
        """Run ``count`` at a time; those too many finish first. There is a most: beyond it, ValueError."""
        if count > self._slots_max:
            raise ValueError(f"at most {self._slots_max} at a time here: start the worker with a larger -c")
        self._slots = count
        self.tell(Slots(count))

    def restart(self) -> None:
        """Replace every shard at once; it finishes what it runs beside its successor."""
        for shard in self.shards.values():
            shard.spec.journal.retire()
        super().restart()

    def terminate(self, ids: Iterable[str], signum: int = signal.SIGTERM) -> None:
        """End these jobs where they run; their messages leave for good."""
        self.tell(Terminate(tuple(ids), signum))

    def _new_spec(self, number: int) -> ShardSpec:
        slots = self._slots, self._slots_max
        name = f"Shard-{number}"
        return new_spec(name, self._node, self.queues, self._settings, *self._wear, number, slots)
