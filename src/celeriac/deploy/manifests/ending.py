"""How a pod ends: it stops consuming and waits, is then told to end, and is killed only at the very last.

::

    deletion ──preStop──────────────> TERM ──soft shutdown──> cold ──────> KILL
             no new tasks; waits for       time for what       running     never
             what runs, at most `drain`    still runs          goes back   needed
             |<──── drain + ASK ──────>|<────── soft ──────>|<─ SETTLE ─>|
             |<──────────────────────── grace ──────────────────────────>|
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.manifests.application import Application, QueueWork
from celeriac.deploy.manifests.pools import Pool

__all__ = ["ASK", "ASSUMED_LONGEST", "SETTLE", "Ending", "ending_of", "work_of"]

#: Seconds for starting the preStop command, and for noticing that the last task has ended.
ASK = 5
#: Seconds for giving back what was cut short.
SETTLE = 10
#: Seconds of soft shutdown, if the app sets none.
SOFT = 10
#: Seconds that a task without any limit is given.
ASSUMED_LONGEST = 300


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of a pod's end in seconds, and whether the first of them is a guess."""

    drain: int
    soft: int
    grace: int
    #: Tasks that may run for longer, as nothing limits them.
    unlimited: tuple[str, ...] = ()


def work_of(name: str, pool: Pool, app: Application) -> QueueWork:
    """Return what is routed to the pool; raise ConfigurationError if that may take longer than it says."""
    queues = pool.queues or tuple(app.work)
    parts = [app.work[queue] for queue in queues if queue in app.work]
    longest = max((part.longest for part in parts), default=0.0)
    if pool.longest is not None and pool.longest < longest:
        raise ConfigurationError(
            f"pool {name!r}: longest is {pool.longest:g} s, but a task of its queues may take {longest:g} s:"
            " raise longest or lower that task's time_limit"
        )
    return QueueWork(
        longest=longest,
        unlimited=_joined(part.unlimited for part in parts),
        at_most_once=_joined(part.at_most_once for part in parts),
    )


def ending_of(name: str, pool: Pool, app: Application) -> Ending:
    """Return how this pool's pods end; raise ConfigurationError if its grace is too short."""
    work = work_of(name, pool, app)
    declared = pool.longest
    unlimited = () if declared is not None else work.unlimited
    guess = ASSUMED_LONGEST if unlimited or not work.longest else 0
    drain = math.ceil(declared if declared is not None else max(work.longest, guess))
    soft = math.ceil(app.soft_shutdown) or SOFT
    least = drain + ASK + soft + SETTLE
    if pool.grace is None:
        return Ending(drain=drain, soft=soft, grace=least, unlimited=unlimited)
    if pool.grace < least:
        raise ConfigurationError(
            f"pool {name!r}: a grace of {pool.grace:g} s kills tasks: the longest takes {drain} s, the soft"
            f" shutdown {soft} s, the rest {ASK + SETTLE} s; set grace to at least {least}, or leave it out"
        )
    return Ending(drain=drain, soft=soft, grace=math.ceil(pool.grace), unlimited=unlimited)


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for part in parts for name in part}))
