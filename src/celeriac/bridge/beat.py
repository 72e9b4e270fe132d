"""Celery's embedded beat (``-B``), which ends with its worker however that ends."""

from __future__ import annotations

import signal
from typing import Any

from billiard.util import set_pdeathsig
from celery import signals
from celery.worker.components import Beat

__all__ = ["BeatStep"]


class BeatStep(Beat):
    """Runs beat as a child process of the worker.

    Celery's own outlives a killed worker; started again, there would be two, and everything due would
    be sent twice.
    """

    def start(self, parent: Any) -> Any:
        signals.beat_embedded_init.connect(_end_with_the_worker)
        return super().start(parent)


def _end_with_the_worker(**_: Any) -> None:
    """Called in beat's own process."""
    set_pdeathsig(signal.SIGTERM)
