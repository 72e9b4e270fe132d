"""Whom a ReplicaSet ends first, as Kubernetes documents it."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.deploy.cluster.pods import Pod

__all__ = ["victims"]


def victims(pods: Sequence[Pod], count: int, now: float) -> list[Pod]:
    """The pods that go: not ready before ready, then by deletion cost, then the latest ready, the newest.

    All are taken to be on nodes of their own, and never restarted.
    """

    def rank(pod: Pod) -> tuple[bool, int, float, float]:
        ready_for = now - pod.ready_since if pod.ready_since is not None else 0.0
        return (pod.ready_since is not None, pod.cost, ready_for, -pod.created)

    return sorted((pod for pod in pods if not pod.terminating), key=rank)[:count]
