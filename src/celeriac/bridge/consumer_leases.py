"""The leases a kombu consumer holds, and the thread that looks after them while it is busy."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal
from uuid import uuid4

from kombu.log import get_logger

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Lease

__all__ = ["ConsumerLeases", "Rounds", "Settlement"]

logger = get_logger(__name__)

#: Seconds that stopping waits for a round to end.
PATIENCE: Final = 1.0

Settlement = Literal["ack", "release", "bury"]


class ConsumerLeases:
    """What one connection holds; claimed by its consumer, settled by any thread of this process.

    The broker must be one that threads may share, as :class:`~celeriac.brokers.sqlite.SqliteBroker`.
    """

    def __init__(self, lease_for: float) -> None:
        self.lease_for = lease_for
        self._pid = os.getpid()
        self._owner = f"{socket.gethostname()}:{self._pid}:{uuid4().hex[:12]}"
        self._held: dict[str, Lease] = {}
        self._unsettled: deque[tuple[Settlement, Lease]] = deque()

    def __bool__(self) -> bool:
        return bool(self._held or self._unsettled)

    def claim(self, broker: Broker, queues: Sequence[str]) -> Lease | None:
        """Return a new lease of the next message, if there is any."""
        claimed = broker.claim(queues, 1, owner=self._owner, lease_for=self.lease_for)
        for lease in claimed.leases:
            self._held[lease.id] = lease
            return lease
        return None

    def settle(self, broker: Broker, how: Settlement, lease_id: str) -> None:
        """The message is done, back or buried; if the broker cannot be reached now, a little later."""
        if self._pid != os.getpid():
            return  # a forked child closes what it inherited, and its parent still holds
        lease = self._held.pop(lease_id, None)
        if lease is not None:
            self._unsettled.append((how, lease))
            self.settle_rest(broker)

    def settle_rest(self, broker: Broker) -> None:
        """What could not be settled before has been, unless the broker still cannot be reached."""
        while self._unsettled:
            try:
                how, lease = self._unsettled.popleft()
            except IndexError:
                return  # another thread was faster
            try:
                lost = _settle(broker, how, lease)
            except BrokerUnavailable as error:
                self._unsettled.append((how, lease))
                logger.warning("a message will be settled later (%s): %s", how, error)
                return
            if lost:
                logger.warning("a message of queue %s had been taken back meanwhile", lease.message.queue)

    def renew(self, broker: Broker) -> None:
        """The leases held last for their full time from now."""
        if self._held:
            broker.renew([self._owner], self.lease_for)


def _settle(broker: Broker, how: Settlement, lease: Lease) -> Sequence[Lease]:
    if how == "ack":
        return broker.ack([lease])
    if how == "release":
        return broker.release([lease])
    return broker.bury([(lease, "rejected by its consumer")])


class Rounds:
    """A daemon thread that calls ``tend`` every so many seconds, from ``start`` to ``stop``."""

    def __init__(self, tend: Callable[[], None], seconds: float) -> None:
        self._tend = tend
        self._seconds = seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """The thread runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopped,), name="celeriac-rounds", daemon=True
                )
                self._thread.start()

    def hasten(self, seconds: float) -> None:
        """The rounds after the next are at most so many seconds apart."""
        self._seconds = min(self._seconds, seconds)

    def stop(self) -> None:
        """The thread has ended, or does so after the round it is in."""
        with self._lock:
            self._stopped.set()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._seconds):
            try:
                self._tend()
            except BrokerUnavailable as error:
                logger.warning("leases and queues could not be looked after this time: %s", error)
