"""All sections in the order in which they are run."""

from __future__ import annotations

from sections.backlog import BACKLOG
from sections.drain import DRAIN
from sections.enqueue import ENQUEUE
from sections.footprint import FOOTPRINT
from sections.idle import IDLE
from sections.limits import LIMITS
from sections.payload import PAYLOAD
from sections.queue_wait import QUEUE_WAIT
from sections.round_trip import ROUND_TRIP
from sections.section import Section
from sections.sleep import SLEEP

__all__ = ["SECTIONS"]

SECTIONS: tuple[Section, ...] = (
    DRAIN,
    ENQUEUE,
    ROUND_TRIP,
    QUEUE_WAIT,
    SLEEP,
    PAYLOAD,
    FOOTPRINT,
    IDLE,
    BACKLOG,
    LIMITS,
)
