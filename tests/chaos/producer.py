"""Publishes tasks of all kinds until it is killed, and says of each whether it was accepted."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from itertools import count
from random import Random

from kombu.exceptions import OperationalError

from celeriac.brokers.connect import open_broker
from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from tests.chaos.app import app, note

#: Seconds between two tasks, and how many may wait to be claimed before it holds back.
_PAUSE, _MOST_WAITING = 0.02, 10
#: Tasks after which it looks how many wait.
_LOOK_EVERY = 10
_KINDS = ("late", "late_silent", "early", "early_silent", "again")


def main(seed: int) -> None:
    """Go on for ever; ``accepted`` is written once publishing has returned."""
    random = Random(seed)
    broker = open_broker(os.environ["BROKER"], {"global_keyprefix": os.environ.get("KEY_PREFIX", "")})
    for number in count(1):
        while number % _LOOK_EVERY == 0 and _too_many_wait(broker):
            time.sleep(_PAUSE)
        kind = random.choice(_KINDS)
        key = f"{kind} {os.getpid()}-{number}"
        seconds = random.choice((0.0, 0.0, 0.002, 0.02, 0.02, 0.4))
        countdown = 0.3 if random.random() < 0.2 else None
        note(key, "sending")
        try:
            app.tasks[f"tests.chaos.app.{kind}"].apply_async((key, seconds), countdown=countdown)
        except OperationalError:
            time.sleep(0.1)  # accepted or not, nobody knows
            continue
        note(key, "accepted")
        time.sleep(_PAUSE)


def _too_many_wait(broker: Broker) -> bool:
    """Whether the fleet lags, so that delayed tasks would be due before they are claimed."""
    with suppress(BrokerUnavailable):
        return broker.stats(["celery"])["celery"].ready > _MOST_WAITING
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]))
