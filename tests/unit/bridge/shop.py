"""A small app, and a layer that sees which of its messages take the fast path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celeriac import Celery
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.layer import Layer, Publish
from celeriac.core.message import Message

__all__ = ["Shop", "Watching", "add"]


class Watching(Layer):
    """Sees what takes the fast path, each try of it."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
        self.seen += messages
        proceed(messages)


class Shop:
    """An app on a file of its own, and what its fast path was given."""

    def __init__(self, folder: Path, **configuration: Any) -> None:
        self.path = folder / "shop.db"
        self.watching = Watching()
        url = f"sqlite:///{self.path}"
        self.app = Celery("shop", broker=url, set_as_current=False, layers=[self.watching])
        self.app.conf.update(configuration)
        self.add = self.app.task(add, name="shop.add", shared=False)

    def took_fast_path(self, **options: Any) -> bool:
        before = len(self.watching.seen)
        self.app.send_task("shop.add", (1, 2), **options)
        return len(self.watching.seen) > before

    def ready(self, queue: str = "celery") -> int:
        return SqliteBroker(self.path).stats([queue])[queue].ready


def add(x: int, y: int) -> int:
    return x + y
