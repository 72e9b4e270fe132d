"""Worker pools as an application declares them: ``pools`` (Django: ``CELERY_POOLS``), one workload each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.deploy.manifests.quantities import cores, mebibytes

__all__ = ["DEFAULT_POOLS", "Autoscale", "Pool", "Toleration", "read_pools"]

Seconds = Annotated[float, Meta(gt=0, le=7 * 86_400)]
Count = Annotated[int, Meta(ge=1)]
Price = Annotated[float, Meta(gt=0)]
Whole = Annotated[int, Meta(ge=0)]
Quantity = str | int | float
Autoscale = Literal["none", "hpa-queue-length", "hpa-desired", "keda-push", "keda-metrics-api"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Toleration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of a pod's tolerations, as Kubernetes spells it."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Pool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workers of one kind: what they consume, what each of them gets, how many there are."""

    #: The queues it consumes; none: all of the app's.
    queues: tuple[str, ...] = ()
    #: The controller of its pods. Only a Deployment gives up idle pods first.
    workload: Literal["deployment", "statefulset"] = "deployment"
    #: How a StatefulSet starts and stops its pods.
    pod_management: Literal["parallel", "ordered_ready"] = "parallel"
    #: How its workers run tasks (``-P``); None: as the app says.
    pool: Literal["prefork", "threads", "asyncio", "solo", "gevent", "eventlet"] | None = None
    #: Tasks at a time (``-c``); None: one for each core.
    concurrency: Count | None = None
    #: Cores and memory of a pod, requested and at most.
    cpu: Quantity = "2"
    memory: str = "2Gi"
    #: GPUs of a pod, the name of that resource, and the nodes that have it.
    gpu: Whole = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str | None = None
    #: The least and the most pods; the least is how many there are where nothing scales them.
    min: Whole = 3
    max: Count = 20
    #: GPUs that all pods together may have; what a pod costs an hour, and what all of them may.
    max_gpus: Count | None = None
    price: Price | None = None
    budget: Price | None = None
    #: What changes the number of pods; several on one workload are refused.
    autoscale: Autoscale | tuple[Autoscale, ...] = "none"
    #: Messages per pod that ``hpa-queue-length`` aims at.
    queue_length: Count = 1000
    #: Seconds of its longest task; None: as the tasks' hard time limits say.
    longest: Seconds | None = None
    #: Seconds between a pod being told to end and being killed; None: computed.
    grace: Seconds | None = None
    #: Seconds within which a worker is ready, models loaded.
    start: Seconds = 120.0
    #: What a pod may write into its scratch directory.
    scratch: str = "1Gi"

    def __post_init__(self) -> None:
        for field, measure in (("cpu", cores), ("memory", mebibytes), ("scratch", mebibytes)):
            try:
                amount = measure(getattr(self, field))
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from None
            if amount <= 0:
                raise ValueError(f"{field} must be more than nothing")
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, more than max, which is {self.max}")
        if self.max_gpus is not None and not self.gpu:
            raise ValueError("max_gpus bounds the pods of a pool that has GPUs: set gpu, or leave it out")
        if self.budget is not None and self.price is None:
            raise ValueError("a budget an hour needs the price of a pod an hour: set price")
        if self.ceiling < max(self.min, 1):
            least = max(self.min, 1)
            raise ValueError(f"max_gpus and budget allow {self.ceiling} pods, but min is {least}: lower it")
        if len(set(self.queues)) != len(self.queues):
            raise ValueError("a queue is named twice")

    @property
    def scalers(self) -> tuple[Autoscale, ...]:
        """What changes the number of pods, without ``none``."""
        named = (self.autoscale,) if isinstance(self.autoscale, str) else self.autoscale
        return tuple(kind for kind in named if kind != "none")

    @property
    def ceiling(self) -> int:
        """The most pods that ``max``, ``max_gpus`` and ``budget`` allow."""
        gpus = self.max if self.max_gpus is None else self.max_gpus // self.gpu
        paid = self.max if self.budget is None or self.price is None else int(self.budget / self.price)
        return min(self.max, gpus, paid)

    @property
    def slots(self) -> int:
        """Tasks at a time in one pod."""
        return self.concurrency or max(1, int(cores(self.cpu)))


#: What an application that declares none gets.
DEFAULT_POOLS: Mapping[str, Pool] = {"worker": Pool()}


def read_pools(declared: object) -> Mapping[str, Pool]:
    """Return the declared pools by name; raise ConfigurationError for a misspelt key or a bad value."""
    if declared is None:
        return DEFAULT_POOLS
    if not isinstance(declared, Mapping) or not declared:
        raise ConfigurationError("pools must map names to what each pool is: {'cpu': {'queues': ['celery']}}")
    return {_name(name): _read_pool(name, entry) for name, entry in declared.items()}


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"pool {name!r} cannot be part of a name in Kubernetes: write small letters, digits and hyphens,"
            " at most 40"
        )
    return name


def _read_pool(name: str, entry: Any) -> Pool:
    if isinstance(entry, Pool):
        return entry
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"pool {name!r} must be a mapping of keys such as queues, cpu, memory")
    known = Pool.__struct_fields__
    for key in entry:
        if key not in known:
            raise ConfigurationError(
                f"pool {name!r} has an unknown key {key!r}{did_you_mean(str(key), known)}"
            )
    try:
        return msgspec.convert(dict(entry), Pool)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"pool {name!r}: {error}") from None
