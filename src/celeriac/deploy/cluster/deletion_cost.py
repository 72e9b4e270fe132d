"""Who is to go first when a pool gets smaller: pods that run nothing, then those whose work is youngest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from celeriac.deploy.cluster.api import ClusterApi
from celeriac.deploy.cluster.pods import COST, Pod

__all__ = ["changes_of_cost", "mark_idlest"]

_BUSY = 10
_MOST = 2**31 - 1  # the annotation is a 32-bit number


def changes_of_cost(pods: Sequence[Pod], ages: Mapping[str, float], victims: int) -> dict[str, int]:
    """Return the fewest new costs with which the idlest ``victims`` pods are ended first.

    ``ages`` are for each busy pod the seconds that its oldest task has run: it costs 10 and those; an idle
    one costs nothing. Pods that take no tasks yet are ended before any other whatever they cost.
    """
    living = [pod for pod in pods if not pod.terminating]
    waiting = sum(pod.ready_since is None for pod in living)
    ready = [pod for pod in living if pod.ready_since is not None]
    count = min(max(victims - waiting, 0), len(ready))
    if not count or count == len(ready):
        return {}
    worth = {pod.name: _cost(ages.get(pod.name)) for pod in ready}
    ordered = sorted(ready, key=lambda pod: (worth[pod.name], pod.cost, pod.name))
    first, rest = ordered[:count], ordered[count:]
    changes = {pod.name: worth[pod.name] for pod in first if _matters(pod.cost, worth[pod.name])}
    dearest = max(changes.get(pod.name, pod.cost) for pod in first)
    for pod in rest:
        # One as idle as they are may go in place of any of them.
        if pod.cost <= dearest and worth[pod.name] > 0 and worth[pod.name] != pod.cost:
            changes[pod.name] = max(worth[pod.name], dearest + 1)
    return changes


def mark_idlest(api: ClusterApi, pods: Sequence[Pod], ages: Mapping[str, float], victims: int) -> int:
    """Write the costs that have to change; return how many. Raises ClusterUnavailable."""
    changes = changes_of_cost(pods, ages, victims)
    for name, cost in changes.items():
        api.annotate(name, {COST: str(cost)})
    return len(changes)


def _cost(age: float | None) -> int:
    return 0 if age is None else min(_BUSY + int(age), _MOST)


def _matters(present: int, cost: int) -> bool:
    """A victim that costs less than it should is a victim all the same, unless it is busy by now."""
    return present > cost or (present < cost and cost > 0)
