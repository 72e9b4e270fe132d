"""What signals mean to a shard's process: the end of its task, as in a child of Celery's pool, or its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from threading import get_ident
from types import FrameType

from celery._state import get_current_task
from celery.exceptions import SoftTimeLimitExceeded

from celeriac.bridge.kept_loop import throw_into_loop
from celeriac.engine.journal import Journal

__all__ = ["heed_signals"]

#: They end a child of Celery's pool by SystemExit, so that what the task has to clean up is cleaned up.
_ENDING = (signal.SIGHUP, signal.SIGQUIT)


def heed_signals(journal: Journal, stop: Callable[[], None]) -> None:
    """Signals end the running task, or the shard once its task has ended; of the main thread only.

    SIGTERM is the supervisor's request to stop, unless the journal says that it is for the task.
    Errors are raised in a task's body alone: the engine itself must not be interrupted anywhere.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for_task = journal.take_signal() == number
        if get_current_task() is not None and (for_task or number in _ENDING):
            sys.exit(number - 256)  # as billiard's children do; the exit code is the signal's number
        if not for_task:
            stop()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        journal.take_signal()
        error = SoftTimeLimitExceeded()
        if get_current_task() is not None and not throw_into_loop(get_ident(), error):
            raise error

    for number in (signal.SIGTERM, *_ENDING):
        signal.signal(number, end)
    signal.signal(signal.SIGUSR1, interrupt)
