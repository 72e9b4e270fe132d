"""The program that ``celery beat`` starts: Celery's own, which tells of itself if that is wanted."""

from __future__ import annotations

from celery import beat
from celery.apps.beat import Beat as StockBeat

from celeriac.bridge.beat_report import report_beat

__all__ = ["Beat", "BeatService"]


class BeatService(beat.Service):
    """Celery's loop around the scheduler."""

    def start(self, embedded_process: bool = False) -> None:
        """Send what is due until told to stop."""
        reporter = report_beat(self)
        try:
            super().start(embedded_process)
        finally:
            if reporter is not None:
                reporter.close()


class Beat(StockBeat):
    """Celery's program."""

    Service = BeatService
