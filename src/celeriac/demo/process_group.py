"""A process and all that it started, as one thing to end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["kill_group", "wait_until_gone"]

_PROC = Path("/proc")
_LOOK_EVERY = 0.01
#: States in which a process holds nothing any more and only waits for its parent to take note.
_ENDED = ("Z", "X")


def kill_group(group: int) -> None:
    """Every process of the group has been told to end at once; nothing happens if there is none."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def wait_until_gone(group: int, seconds: float) -> bool:
    """Return whether no process of the group runs any more, after ``seconds`` at most.

    One that is killed still holds its files and its folder for a moment after the one that started
    it is gone. One that has ended counts as gone, though nobody may have asked for its exit code.
    """
    deadline = time.monotonic() + seconds
    while _runs(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY)
    return True


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # how macOS says that all that is left has ended
        return False
    # The system still knows the group; only where /proc tells more can what has ended be told apart.
    return not _PROC.joinpath("self").exists() or any(_runs_in(group, entry) for entry in _PROC.iterdir())


def _runs_in(group: int, entry: Path) -> bool:
    if not entry.name.isdigit():
        return False
    try:
        state, _parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return False
    return int(its_group) == group and state not in _ENDED
