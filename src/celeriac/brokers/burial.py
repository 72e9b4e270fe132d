"""Which of a dead worker's messages go to the dead letters, and in what words: one rule for all brokers."""

from __future__ import annotations

from celeriac.core.lease import DeadLetter, Eviction, Lease

__all__ = ["cause_of_death", "letter", "worker_died"]


def cause_of_death(lease: Lease, eviction: Eviction, max_deliveries: int) -> str | None:
    """Return why the lease's message must be buried, or None when it goes back to its queue."""
    if lease.id in eviction.forfeited:
        return eviction.forfeited[lease.id]
    if lease.id in eviction.interrupted and lease.deliveries >= max_deliveries:
        return worker_died(lease.deliveries)
    return None


def worker_died(times: int) -> str:
    """Return the reason of a message whose every delivery ended with its worker's death."""
    return "its worker died once" if times == 1 else f"its worker died {times} times"


def letter(id: str, lease: Lease, reason: str, died_at: float) -> DeadLetter:  # noqa: A002 (the field's name)
    """Return the dead letter that the leased message becomes."""
    return DeadLetter(
        id=id, message=lease.message, reason=reason, died_at=died_at, deliveries=lease.deliveries
    )
