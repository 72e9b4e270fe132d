"""A pool's pods as the Kubernetes API tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

__all__ = ["COST", "Pod", "PodWatch", "PoolPods", "read_pods", "selector_of_pool"]

#: The annotation by which a ReplicaSet chooses whom to end first: the least, and 0 for who has none.
COST = "controller.kubernetes.io/pod-deletion-cost"


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod."""

    name: str
    created: float = 0.0  #: Unix seconds
    ready_since: float | None = None  #: None: it takes no tasks yet
    terminating: bool = False
    cost: int = 0


class PoolPods(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of one pool at one moment, by what they do."""

    ready: int = 0
    starting: tuple[float, ...] = ()  #: for each, the seconds since it was asked for
    started: tuple[float, ...] = ()  #: for each that became ready since, the seconds that took
    terminating: int = 0


def selector_of_pool(pool: str) -> str:
    """Return the labels that rendered manifests give the pods of a pool."""
    return f"app.kubernetes.io/name=celery,app.kubernetes.io/component=worker-{pool}"


def read_pods(items: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Return the pods of a list, without those that have ended."""
    return [
        _pod(item) for item in items if item.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


class PodWatch:
    """Notices which pods have become ready."""

    def __init__(self) -> None:
        self._ready: frozenset[str] | None = None

    def since(self, now: float, pods: Sequence[Pod]) -> PoolPods:
        """Return what the pods do now (Unix seconds), and what it took those that became ready since."""
        living = [pod for pod in pods if not pod.terminating]
        ready = [pod for pod in living if pod.ready_since is not None]
        known = self._ready
        new = [] if known is None else [pod for pod in ready if pod.name not in known]
        self._ready = frozenset(pod.name for pod in ready) | (known or frozenset()) & {p.name for p in living}
        return PoolPods(
            ready=len(ready),
            starting=tuple(max(now - pod.created, 0.0) for pod in living if pod.ready_since is None),
            started=tuple(max(pod.ready_since - pod.created, 0.0) for pod in new if pod.ready_since),
            terminating=len(pods) - len(living),
        )


def _pod(item: Mapping[str, Any]) -> Pod:
    about, status = item.get("metadata", {}), item.get("status", {})
    conditions = {found.get("type"): found for found in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    created = _seconds(about.get("creationTimestamp"))
    return Pod(
        name=str(about.get("name", "")),
        created=created,
        ready_since=(
            (_seconds(ready.get("lastTransitionTime")) or created) if ready.get("status") == "True" else None
        ),
        terminating=bool(about.get("deletionTimestamp")),
        cost=_cost((about.get("annotations") or {}).get(COST)),
    )


def _seconds(text: str | None) -> float:
    if not text:
        return 0.0
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _cost(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
