"""Messages that are published together, where the caller has more of them coming."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Final

from celeriac.core.message import Message

__all__ = ["MOST_MESSAGES", "Batch", "BatchScope", "Batches", "Send"]

#: Publishes messages with one retry policy of Celery's, or none.
Send = Callable[[Sequence[Message], dict[str, Any] | None], None]
#: Is told what became of messages, by what they were followed with.
Settle = Callable[[Sequence[Any]], None]

MOST_MESSAGES: Final = 1000
MOST_BYTES: Final = 1 << 22
#: Seconds after which a group's next task comes slowly.
PATIENCE: Final = 0.5


class Batch:
    """Messages in their order, sent whenever there are many and in the end.

    Of a group the first one is sent at once, and so are those that come slowly: the group may be a
    generator that computes long for each task, and Celery lets the first ones run meanwhile.
    """

    def __init__(self, send: Send, *, whole: bool) -> None:
        """``whole``: everything goes in here that comes with its producer, not only a group's tasks."""
        self.whole = whole
        self.thread = threading.get_ident()
        self._send = send
        self._waiting: list[Message] = []
        #: Called after the messages have been sent.
        self._to_tell: list[Callable[[], None]] = []
        self._followers: dict[tuple[Settle, Settle], list[Any]] = {}
        self._bytes = 0
        self._policy: dict[str, Any] | None = None
        self._added_at = -PATIENCE

    def add(
        self,
        message: Message,
        retry_policy: dict[str, Any] | None,
        published: Callable[[], None] | None = None,
    ) -> None:
        """The message is sent at the next flush, and ``published`` is called after that."""
        if self._waiting and retry_policy != self._policy:
            self.flush()
        self._policy = retry_policy
        self._waiting.append(message)
        if published is not None:
            self._to_tell.append(published)
        self._bytes += len(message.payload)
        is_full = len(self._waiting) >= MOST_MESSAGES or self._bytes >= MOST_BYTES
        if is_full or (not self.whole and self._comes_slowly()):
            self.flush()

    def follow(self, sent: Settle, dropped: Settle, what: Any) -> None:
        """One of both is called: once everything added so far has been sent, or when it will not be.

        It is called once with all that was to be followed by the same two.
        """
        self._followers.setdefault((sent, dropped), []).append(what)

    def flush(self) -> None:
        """All messages are sent in one call; if this raises, none of them is sent again."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        to_tell, self._to_tell = self._to_tell, []
        if waiting:
            try:
                self._send(waiting, self._policy)
            except BaseException:  # none of the messages is kept here
                self.drop()
                raise
            for published in to_tell:
                published()
        followers, self._followers = self._followers, {}
        for (sent, _), followed in followers.items():
            sent(followed)

    def drop(self) -> None:
        """Nothing that waits is sent any more."""
        self._waiting, self._to_tell = [], []
        followers, self._followers = self._followers, {}
        for (_, dropped), followed in followers.items():
            dropped(followed)

    def _comes_slowly(self) -> bool:
        before, self._added_at = self._added_at, monotonic()
        return self._added_at - before >= PATIENCE


class Batches:
    """The open batches of an app, each found by the producer that stands for it.

    Celery hands a producer from a group to each of its tasks. It is taken from a pool, so that nobody
    else has it meanwhile.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open: dict[int, Batch] = {}

    def open(self, producer: Any, *, whole: bool) -> None:
        """What comes with the producer is collected from now on, until ``close``."""
        self._open[id(producer)] = Batch(self._send, whole=whole)

    def of(self, producer: Any) -> Batch:
        """Return the open batch of the producer."""
        return self._open[id(producer)]

    def close(self, producer: Any, *, failed: bool) -> None:
        """All that was collected is sent; of a whole batch that failed, nothing more is.

        Of a group that fails, Celery has sent what came before the error.
        """
        batch = self._open.pop(id(producer), None)
        if batch is not None and failed and batch.whole:
            batch.drop()
        elif batch is not None:
            batch.flush()

    def find(self, producer: Any, group: Any) -> Batch | None:
        """Return the batch for a message with this producer and group, if it may wait for others."""
        if producer is None or not self._open:
            return None
        batch = self._open.get(id(producer))
        return batch if batch is not None and (batch.whole or group is not None) else None

    def make_way(self) -> None:
        """All that this thread has collected is sent, as what comes next goes out by itself."""
        if self._open:
            mine = threading.get_ident()
            for batch in [batch for batch in list(self._open.values()) if batch.thread == mine]:
                batch.flush()


class BatchScope:
    """Celery's producer for the time of a block, at whose end everything collected with it is sent."""

    def __init__(self, producer: AbstractContextManager[Any], batches: Batches, *, whole: bool) -> None:
        self._context = producer
        self._batches = batches
        self._whole = whole
        self._producer: Any = None

    def __enter__(self) -> Any:
        self._producer = self._context.__enter__()
        self._batches.open(self._producer, whole=self._whole)
        return self._producer

    def __exit__(self, *exc_info: Any) -> None:
        try:
            self._batches.close(self._producer, failed=exc_info[0] is not None)
        finally:
            self._context.__exit__(*exc_info)
