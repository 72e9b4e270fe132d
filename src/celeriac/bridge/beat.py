"""Celery's embedded beat (``-B``), which ends with its worker however that ends."""

from __future__ import annotations

import os
import signal
from typing import Any

from billiard.util import set_pdeathsig
from celery import signals
from celery.worker.components import Beat

from celeriac.bridge.beat_report import report_beat

__all__ = ["BeatStep"]


class BeatStep(Beat):
    """Runs beat as a child process of the worker.

    Celery's own outlives a killed worker; started again, there would be two, and everything due would
    be sent twice.
    """

    def start(self, parent: Any) -> Any:
        worker = os.getpid()

        def end_with_the_worker(sender: Any, **_: Any) -> None:
            """Called in beat's own process."""
            set_pdeathsig(signal.SIGTERM)
            if os.getppid() != worker:  # it had died before
                os.kill(os.getpid(), signal.SIGTERM)
            report_beat(sender)

        signals.beat_embedded_init.connect(end_with_the_worker, weak=False)
        return super().start(parent)
