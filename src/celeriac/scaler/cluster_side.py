"""A pool's pods: asked of the cluster where there is one, else taken from what workers tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from celeriac.deploy.cluster.api import ClusterApi, ClusterUnavailable
from celeriac.deploy.cluster.deletion_cost import mark_idlest
from celeriac.deploy.cluster.pods import Pod, PodWatch, PoolPods, read_pods, selector_of_pool
from celeriac.scaler.pods_told import PodsTold

__all__ = ["PoolSide"]

logger = logging.getLogger("celeriac.scaler")


class PoolSide:
    """The pods of one pool."""

    def __init__(self, pool: str, api: ClusterApi | None) -> None:
        """``api`` is None outside of a cluster."""
        self._pool = pool
        self._api = api
        self._watch = PodWatch()
        self._told = PodsTold()
        self._complaint = ""
        self._pods: list[Pod] | None = None

    def look(self, now: float, workers: int) -> PoolPods:
        """Return the pods now (Unix seconds); so many workers tell of themselves."""
        self._pods = self._listed()
        told = self._told.since(now, workers)
        if self._pods is None:
            return told
        return self._watch.since(now, self._pods)

    def asked_for(self, pods: int, now: float) -> None:
        """So many pods were asked for."""
        self._told.asked_for(pods, now)

    def scale_in(self, desired: int, hosts: Mapping[str, float | None]) -> None:
        """Let the idlest pods be those that go, if there are more than ``desired``.

        ``hosts`` say for each pod's worker since when it is at its work, or that it is idle.
        """
        living = [pod for pod in self._pods or () if not pod.terminating]
        if self._api is None or len(living) <= desired or not hosts:
            return
        # Who tells nothing may be at work.
        since = {pod.name: hosts.get(pod.name, 0.0) for pod in living}
        ages = {name: age for name, age in since.items() if age is not None}
        try:
            marked = mark_idlest(self._api, living, ages, len(living) - desired)
        except ClusterUnavailable as error:
            self._complain(str(error))
            return
        if marked:
            idle = len(living) - len(ages)
            logger.info(
                "Pool %s: %d of %d pods are to go, %d are idle; %d deletion costs written",
                self._pool,
                len(living) - desired,
                len(living),
                idle,
                marked,
            )

    def _listed(self) -> list[Pod] | None:
        if self._api is None:
            return None
        try:
            pods = read_pods(self._api.pods(selector_of_pool(self._pool)))
        except ClusterUnavailable as error:
            self._complain(f"{error}; pods are counted by what workers tell")
            return None
        self._complaint = ""
        return pods

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            logger.warning("Pool %s: %s", self._pool, complaint)
            self._complaint = complaint
