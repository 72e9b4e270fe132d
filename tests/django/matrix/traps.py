"""Named steps at which a process dies, or is held up, when a trap was laid there for it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.django.matrix.ledger import Ledger

__all__ = ["Trap", "Traps"]

#: Seconds for which somebody in a trap waits at most for what befalls others.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Trap:
    """For whoever gets to its step the n-th time since it was laid."""

    run: int
    #: Who is killed: "process", or "node", the whole group. "stopped": the process stands still. Anything
    #: else befalls others: the process waits until it is set free.
    victim: str = "process"
    number: int = 1
    #: Seconds for which it still goes on; who would wait does not wait then, so that both happen at once.
    delay: float = 0.0


class _Thread(threading.local):
    commits = ""


class Traps:
    """A folder in which a file named like a step is a trap."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        #: What this process is: the first word of its steps.
        self.role = ""
        self._thread = _Thread()
        self._folder = str(folder)
        self._ledger = ledger
        self._seen: Counter[int] = Counter()

    @property
    def commits(self) -> str:
        """What the next commit of this thread commits, if it is one to die at."""
        return self._thread.commits

    @commits.setter
    def commits(self, what: str) -> None:
        self._thread.commits = what

    def lay(self, step: str, trap: Trap) -> None:
        """Let the first process that reaches the step that often die there."""
        laying = Path(self._folder, "laying")
        laying.write_text(json.dumps(asdict(trap)))
        laying.rename(Path(self._folder, step))

    def taken(self) -> int | None:
        """Return the process that met its trap, if one has."""
        for name in os.listdir(self._folder):  # noqa: PTH208 - asked often
            if name.startswith("taken by "):
                return int(name.rpartition(" ")[2])
        return None

    def clear(self) -> None:
        """Take everything away, and set free who waits."""
        for file in Path(self._folder).iterdir():
            file.unlink(missing_ok=True)

    def is_laid(self, name: str) -> bool:
        """Whether somebody is to die at this step."""
        return os.path.exists(f"{self._folder}/{self.role} {name}")  # noqa: PTH110 - asked often

    def reach(self, name: str) -> None:
        """Go on, unless a trap lies here."""
        if not self.is_laid(name):
            return
        laid = Path(self._folder, f"{self.role} {name}")
        with suppress(FileNotFoundError, json.JSONDecodeError):  # another process was faster
            trap = Trap(**json.loads(laid.read_text()))
            self._seen[trap.run] += 1
            if self._seen[trap.run] < trap.number:
                return
            taken = Path(self._folder, f"taken by {os.getpid()}")
            laid.rename(taken)
            self._ledger.note("killed", str(trap.run))
            _fall(trap, taken)


def _fall(trap: Trap, taken: Path) -> None:
    if trap.victim == "stopped":
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif trap.victim not in ("process", "node"):
        time.sleep(trap.delay)
        _wait_until_gone(taken, 0.0 if trap.delay else _PATIENCE)
    elif trap.delay:
        threading.Thread(target=_die, args=(trap,)).start()
    else:
        _die(trap)


def _wait_until_gone(file: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.001)


def _die(trap: Trap) -> None:
    time.sleep(trap.delay)
    if trap.victim == "node":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
