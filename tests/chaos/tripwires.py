"""Named steps at which a process meets the fault that was laid there for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

__all__ = ["FAULTS", "Tripwires"]

_OUT_OF_MEMORY = 100 << 20


class Tripwires:
    """A folder in which a file named like a step holds the fault for whoever gets there first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # -- In the campaign

    def lay(self, step: str, fault: str) -> None:
        """Let the first process that reaches the step meet the fault."""
        laid = self._folder / "laying"
        laid.write_text(fault)
        laid.rename(self._folder / step)

    def taken(self) -> int | None:
        """Return the process that has met its fault, if one has."""
        for file in self._folder.glob("taken by *"):
            return int(file.name.rpartition(" ")[2])
        return None

    def clear(self) -> None:
        """Take everything away; whoever waits goes on."""
        for file in self._folder.iterdir():
            file.unlink()

    # -- In the process under test

    def reach(self, step: str) -> None:
        """Go on, unless a fault lies here."""
        laid = self._folder / step
        if not laid.exists():
            return
        taken = self._folder / f"taken by {os.getpid()}"
        with suppress(FileNotFoundError):  # another process was faster
            fault = laid.read_text()
            laid.rename(taken)
            FAULTS[fault](taken)

    def around(self, owner: type, method: str, step: Callable[..., str]) -> None:
        """Have two steps of every call of the method: before it begins, and after it has ended."""
        real = getattr(owner, method)

        @wraps(real)
        def stepped(*arguments: Any, **options: Any) -> Any:
            name = step(*arguments, **options)
            self.reach(f"{name} before")
            answer = real(*arguments, **options)
            self.reach(f"{name} after")
            return answer

        setattr(owner, method, stepped)


def _kill_process(_taken: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_node(_taken: Path) -> None:
    os.killpg(0, signal.SIGKILL)


def _stop_process(_taken: Path) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _stop_node(_taken: Path) -> None:
    os.killpg(0, signal.SIGSTOP)


def _run_out_of_memory(_taken: Path) -> None:
    """As the kernel does it: the process that has grown the most is killed without a word."""
    held = bytearray(_OUT_OF_MEMORY)
    held[::4096] = b"x" * len(held[::4096])
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_restart(taken: Path) -> None:
    """Stand still while the broker is restarted."""
    give_up = time.monotonic() + 10
    while taken.exists() and time.monotonic() < give_up:
        time.sleep(0.005)


FAULTS: dict[str, Callable[[Path], None]] = {
    "kill process": _kill_process,
    "kill node": _kill_node,
    "stop process": _stop_process,
    "stop node": _stop_node,
    "out of memory": _run_out_of_memory,
    "restart broker": _wait_for_restart,
}
