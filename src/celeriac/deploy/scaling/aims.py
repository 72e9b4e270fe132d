"""What a pool of workers is for, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass

from celeriac.core.errors import ConfigurationError

__all__ = ["Aims"]


@dataclass(frozen=True)
class Aims:
    """The objective of one pool, and its bounds."""

    slots_per_pod: int  #: tasks that a pod runs at a time
    objective: float = 30.0  #: seconds that a task may wait
    min_pods: int = 0
    max_pods: int = 1000
    gpus_per_pod: int = 0
    max_gpus: int | None = None
    price: float = 0.0  #: of a pod, an hour
    budget: float | None = None  #: that all pods together may cost, an hour
    premium: float = 1.25  #: what high quantiles may cost on average, as a multiple of what the median would
    startup: float = 60.0  #: seconds a pod is thought to take until one was seen to start
    service_time: float = 1.0  #: seconds a task is thought to run until one was seen
    preview: bool = False  #: decide and explain, and change nothing

    def __post_init__(self) -> None:
        if self.slots_per_pod < 1 or self.objective <= 0 or self.startup <= 0 or self.service_time <= 0:
            raise ConfigurationError("slots, objective, start-up and service time must be greater than 0")
        if self.min_pods > self.ceiling[0]:
            raise ConfigurationError(
                f"min_pods is {self.min_pods}, but {self.ceiling[1]} allows {self.ceiling[0]}: lower it"
            )

    @property
    def ceiling(self) -> tuple[int, str]:
        """The most pods there may be, and what says so."""
        caps = [(self.max_pods, "max_pods")]
        if self.max_gpus is not None and self.gpus_per_pod:
            caps.append((self.max_gpus // self.gpus_per_pod, "max_gpus"))
        if self.budget is not None and self.price:
            caps.append((int(self.budget / self.price), "budget"))
        return min(caps)
