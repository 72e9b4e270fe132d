"""Looks after pools that have no pods: the first message, and beat, wake them at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerError
from celeriac.deploy.outlets.answers import Answer, Answers, Basis

__all__ = ["Lookout"]

logger = logging.getLogger("celeriac.scaler")

_PATIENCE = 0.5


class Lookout:
    """A thread with a broker connection of its own; ``start`` it, and ``close`` it."""

    def __init__(
        self,
        broker: Broker,
        answers: Answers,
        queues: Mapping[str, Sequence[str]],
        beat_is_near: Callable[[str, float], str | None],
    ) -> None:
        """``queues`` are by pool; ``beat_is_near`` says which entry is due before a pod could be there."""
        self._broker = broker
        self._answers = answers
        self._queues = queues
        self._beat_is_near = beat_is_near
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="Lookout", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; return when the thread has ended."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._broker.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            asleep = [answer for answer in map(self._answers.latest, self._queues) if _sleeps(answer)]
            if not asleep:
                self._closed.wait(_PATIENCE)
                continue
            try:
                self._look(asleep)
            except BrokerError:  # whoever decides says so; nobody is woken or sent to sleep
                self._closed.wait(_PATIENCE)

    def _look(self, asleep: Sequence[Answer | None]) -> None:
        sleeping = [answer for answer in asleep if answer is not None]
        queues = list(dict.fromkeys(name for answer in sleeping for name in self._queues[answer.pool]))
        self._broker.wait(queues, _PATIENCE)
        stats = self._broker.stats(queues)
        now = time.time()
        for answer in sleeping:
            waiting = sum(stats[name].ready for name in self._queues[answer.pool])
            if waiting:
                self._wake(answer, waiting, "a first message waits")
            elif (entry := self._beat_is_near(answer.pool, now)) is not None:
                self._wake(answer, 0, f"beat is about to send {entry}")

    def _wake(self, answer: Answer, waiting: int, reason: str) -> None:
        woken = msgspec.structs.replace(
            answer,
            desired=1,
            advised=1,
            active=True,
            basis=Basis.WOKEN,
            reason=reason,
            queued=waiting,
            at=time.time(),
        )
        self._answers.tell(woken)
        logger.info("Pool %s: 0 to 1 pods, %s", answer.pool, reason)


def _sleeps(answer: Answer | None) -> bool:
    return answer is not None and not answer.active and not answer.preview
