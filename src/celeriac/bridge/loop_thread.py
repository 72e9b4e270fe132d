"""An event loop in a thread of its own, for coroutines that other threads start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["LoopThread"]

#: Seconds that closing waits for what is left in the loop.
_PATIENCE = 2.0


class LoopThread:
    """Runs from its making until ``close``; a daemon, so that nothing in it keeps the process alive."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def start(
        self, coroutine: Coroutine[Any, Any, None], context: Context, ended: Callable[[], None]
    ) -> None:
        """Run the coroutine in the context; call ``ended`` in the loop's thread when it has ended."""
        self._loop.call_soon_threadsafe(self._start, coroutine, context, ended)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function in the loop's thread, soon."""
        self._loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """Cancel what is left in the loop, and end the thread; not waiting for what does not end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._ready.set()
            self._loop.run_forever()

    def _start(
        self, coroutine: Coroutine[Any, Any, None], context: Context, ended: Callable[[], None]
    ) -> None:
        task = self._loop.create_task(coroutine, context=context)
        self._tasks.add(task)  # a loop itself does not keep its tasks alive

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            ended()

        # In a later turn of the loop, when the coroutine has left its context.
        task.add_done_callback(done, context=Context())
