"""Publishes tasks of all kinds until it is killed, and says of each whether it was accepted."""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from random import Random

from kombu.exceptions import OperationalError

from tests.chaos.app import app, note

#: Tasks a second, and how many may wait to be done before it holds back.
_PAUSE = 0.02
_KINDS = ("late", "late_silent", "early", "early_silent", "again")


def main(seed: int) -> None:
    """Go on for ever; ``accepted`` is written once publishing has returned."""
    random = Random(seed)
    for number in count(1):
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
