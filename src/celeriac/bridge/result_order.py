"""Which state of a task may take the place of the one that is stored.

Two runs of one task may store at the same time: a retry is sent before the run that asks for it has
stored RETRY, and a lost worker may turn out to be alive.
"""

from __future__ import annotations

from celery import states

__all__ = ["gives_way"]


def gives_way(stored: str, new: str) -> bool:
    """Return whether ``new`` may be stored over ``stored``, both names of states.

    Nothing follows a success, as with Celery's own backends. Nor does RETRY follow any end: that end
    is the retry's, which was quicker than the run before it, and who waits would wait forever.
    """
    if stored == states.SUCCESS:
        return False
    return new != states.RETRY or stored not in states.READY_STATES
