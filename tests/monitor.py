"""Listens to Celery's events, as Flower does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.servers import wait_until

Event = dict[str, Any]


class Monitor:
    """What has been heard so far, in the order it came."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def of(self, kind: str, uuid: str | None = None) -> list[Event]:
        """The events of this type, of this task if one is named."""
        return [e for e in self.events if e["type"] == kind and uuid in (None, e.get("uuid"))]

    def kinds(self, uuid: str) -> list[str]:
        """What has happened to a task."""
        return [event["type"] for event in self.events if event.get("uuid") == uuid]

    def wait_for(self, kind: str, uuid: str | None = None) -> Event:
        """Return the first event of this type once there is one."""
        wait_until(lambda: self.of(kind, uuid), what=f"{kind} of {uuid} among {self.events[-5:]}")
        return self.of(kind, uuid)[0]


@contextmanager
def monitor(app: Any) -> Iterator[Monitor]:
    """A monitor that listens for the time of the block."""
    heard = Monitor()
    stopped, listening = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": heard.events.append})
            with receiver.consumer_context(wakeup=False) as (own, _channel, _consumers):
                while not stopped.is_set():
                    with suppress(TimeoutError):
                        own.drain_events(timeout=0.2)
                    listening.set()  # only the first drain subscribes

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(10)
        yield heard
    finally:
        stopped.set()
        thread.join()
