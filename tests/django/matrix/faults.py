"""What else befalls a site while somebody is at a step: servers end and come back, a process stands still."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tests.django.matrix.steps import Step

__all__ = ["OUTAGES", "STOPPED", "faults"]

#: SIGSTOP, and SIGCONT later.
STOPPED: Final = "stopped"
#: Which server ends in which way; it is started again.
OUTAGES: Final = {
    "broker killed": ("broker", "kill"),
    "database stopped": ("database", "stop"),
    "database killed": ("database", "kill"),
}

#: Where whoever publishes stands still: with a claim, between messages, and before and after it is settled.
_STOPPED_AT: Final = (
    *(("relay", name) for name in ("claimed", "mid publish", "published", "before settling", "settled")),
    *(("producer", name) for name in ("claimed", "mid publish", "published")),
)
_BROKER_AT: Final = (
    *(("producer", name) for name in ("before commit", "claimed", "mid publish", "published")),
    *(("relay", name) for name in ("claimed", "mid publish", "published")),
    *(("worker", name) for name in ("received", "after effect", "effect committed", "before ack")),
)
_DATABASE_AT: Final = (
    *(
        ("producer", name)
        for name in ("after insert", "before commit", "in commit", "after commit", "published")
    ),
    *(("relay", name) for name in ("claimed", "published", "in settling")),
    *(("worker", name) for name in ("before effect", "in effect commit", "effect committed")),
)


def faults(servers: Collection[str]) -> list[Step]:
    """Return all that can befall a site with these servers."""
    found = [Step(role, name, STOPPED) for role, name in _STOPPED_AT]
    for fault, (server, _) in OUTAGES.items():
        if server in servers:
            places = _BROKER_AT if server == "broker" else _DATABASE_AT
            found += [Step(role, name, fault) for role, name in places]
    return found
