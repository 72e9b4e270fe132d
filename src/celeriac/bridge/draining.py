"""One worker stops consuming and is waited for, by the remote control that every Celery worker has."""

from __future__ import annotations

import time
from typing import Any

from kombu.exceptions import KombuError

from celeriac.core.errors import BrokerUnavailable

__all__ = ["Draining"]

#: Seconds that a worker gets for an answer.
_PATIENCE = 2.0
#: A broker that is away is asked twice: whoever is told to end soon is not to wait for it.
_RECONNECT = {"max_retries": 1, "interval_start": 0.2}
#: Seconds between two questions: first and, doubled each time, at last.
_FIRST_PAUSE, _LAST_PAUSE = 0.25, 5.0
#: A task tells of itself a moment after it has started: one look that finds nothing is not enough.
_LOOKS = 2


class Draining:
    """Takes a worker's queues away and asks it what still runs."""

    def __init__(self, app: Any, node: str) -> None:
        self._app = app
        self._node = node

    def stop_consuming(self, deadline: float) -> list[str] | None:
        """Take all its queues away, and return their names; None if it does not answer by ``deadline``.

        A worker that runs its tasks in its main process (``-P solo``) answers only between two of them.
        Raises :class:`BrokerUnavailable` if the broker, and so the worker, cannot be asked.
        """
        while (answer := self._ask("active_queues")) is None:
            if time.monotonic() >= deadline:
                return None
        queues = [str(queue["name"]) for queue in answer or ()]
        for queue in queues:
            self._ask("cancel_consumer", queue=queue)
        return queues

    def running(self) -> list[str] | None:
        """Return the ids of what runs; None if the worker does not answer."""
        answer = self._ask("active")
        return None if answer is None else [str(task["id"]) for task in answer]

    def wait(self, deadline: float) -> bool:
        """Return True once nothing runs, or False when it is ``deadline`` (``time.monotonic``).

        A worker that does not answer may be running a task. Raises :class:`BrokerUnavailable` as above.
        """
        pause, empty = _FIRST_PAUSE, 0
        while time.monotonic() < deadline:
            empty = empty + 1 if self.running() == [] else 0
            if empty >= _LOOKS:
                return True
            left = max(0.0, deadline - time.monotonic())
            pause = _FIRST_PAUSE if empty else min(2 * pause, _LAST_PAUSE, max(_FIRST_PAUSE, left / 10))
            time.sleep(min(pause, left))
        return False

    def _ask(self, command: str, **arguments: Any) -> Any:
        with self._app.connection_for_write(transport_options=_RECONNECT) as connection:
            options: Any = {"destination": [self._node], "reply": True, "timeout": _PATIENCE, "limit": 1}
            try:
                replies = self._app.control.broadcast(command, arguments, connection=connection, **options)
            except (KombuError, OSError, *connection.connection_errors) as error:
                raise BrokerUnavailable(str(error)) from None
        return replies[0].get(self._node) if replies else None
