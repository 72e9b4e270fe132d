"""Every policy by its name, with what can be set on it and the grid it is tuned over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.deploy.scaling.aims import Aims
from celeriac.deploy.scaling.brain import Brain
from celeriac.deploy.scaling.load import Load
from celeriac.deploy.scaling.outcome import Outcome
from celeriac.deploy.scaling.rivals.hpa import Behaviour, MetricPolicy
from celeriac.deploy.scaling.rivals.predictive import Crane, HoltWinters, Linear
from celeriac.deploy.scaling.rivals.steady import Oracle, StaticPeak
from celeriac.deploy.scaling.simulation import Conditions, simulate
from celeriac.deploy.scaling.view import Policy

__all__ = ["LINEUP", "Entry", "Options", "aims_of", "find", "make", "tune"]

Options = Mapping[str, float]
Maker = Callable[[Load, Conditions, Options], Policy]


@dataclass(frozen=True)
class Entry:
    """One policy: what it does, how it is made, what it is set to, and what else it may be set to."""

    says: str
    make: Maker
    defaults: Options = field(default_factory=dict)
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rival: bool = True  #: False for ours and for the oracle, which nobody can buy

    def settings(self) -> Iterator[Options]:
        """Yield every point of the grid."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


def aims_of(conditions: Conditions) -> Aims:
    """Return what a brain is told of a simulated pool; start-up and run times it has to learn."""
    return Aims(
        slots_per_pod=conditions.slots_per_pod,
        objective=conditions.objective,
        min_pods=conditions.min_pods,
        max_pods=conditions.max_pods,
    )


def _brain(_load: Load, conditions: Conditions, options: Options) -> Policy:
    return Brain(replace(aims_of(conditions), premium=options["premium"]))


def _queue(_load: Load, _conditions: Conditions, options: Options) -> Policy:
    return MetricPolicy(lambda view: view.queued, options["target"], _behaviour(options))


def _busy(_load: Load, conditions: Conditions, options: Options) -> Policy:
    target = options["target"] * conditions.slots_per_pod
    return MetricPolicy(lambda view: view.running, target, _behaviour(options))


def _keda(_load: Load, conditions: Conditions, options: Options) -> Policy:
    target = options["target"] * conditions.slots_per_pod
    return MetricPolicy(lambda view: view.queued + view.running, target, _behaviour(options))


def _behaviour(options: Options) -> Behaviour:
    return Behaviour(down_window=options["down_window"], tolerance=options["tolerance"])


_HPA = {"down_window": 300.0, "tolerance": 0.1}

LINEUP: Mapping[str, Entry] = {
    "celeriac": Entry(
        "Celeriac's brain: forecast, known demand, backlog, feedback",
        _brain,
        {"premium": 1.25},
        {"premium": (1.25,)},
        rival=False,
    ),
    "hpa-queue": Entry(
        "HPA on celery_queue_length, target tasks a pod",
        _queue,
        {"target": 40.0, **_HPA},
        {"target": (40.0,)},
    ),
    "hpa-busy": Entry(
        "HPA on the share of busy slots",
        _busy,
        {"target": 0.7, **_HPA},
        {"target": (0.5, 0.6, 0.7, 0.8)},
    ),
    "keda-redis": Entry(
        "KEDA's redis scaler on the length of the list, target tasks a pod",
        _queue,
        {"target": 5.0, **_HPA},
        {"target": (1.0, 5.0)},
    ),
    "keda": Entry(
        "KEDA on tasks that run or wait, target share of a pod's slots",
        _keda,
        {"target": 0.8, **_HPA},
        {"target": (0.6, 0.8, 1.0, 1.2), "down_window": (60.0, 300.0)},
    ),
    "predictive-linear": Entry(
        "HPA on the greater of present and a straight line through the last samples",
        lambda _load, conditions, options: Linear(conditions, **options),
        {"target": 0.8, "history": 6.0},
        {"target": (0.7, 0.9)},
    ),
    "predictive-hpa": Entry(
        "HPA on the greater of present and Holt-Winters with a season of a day",
        lambda _load, conditions, options: HoltWinters(conditions, **options),
        {"target": 0.8, "alpha": 0.2, "gamma": 0.3},
        {"target": (0.7, 0.9)},
    ),
    "crane": Entry(
        "HPA on the greater of present and the peak of the last three days at this time, and a margin",
        lambda _load, conditions, options: Crane(conditions, **options),
        {"target": 0.8, "margin": 0.1, "window": 15.0},
        {"target": (0.7, 0.85, 1.0), "margin": (0.1,), "window": (15.0, 60.0)},
    ),
    "static-peak": Entry(
        "pods for the peak of the first half, always",
        lambda load, conditions, options: StaticPeak(load, conditions, **options),
        {"margin": 1.0},
        {"margin": (0.75, 1.0, 1.25)},
    ),
    "oracle": Entry(
        "knows every rate to come; nobody can buy it",
        lambda load, conditions, _options: Oracle(load, conditions),
        rival=False,
    ),
}


def find(name: str) -> Entry:
    """Return the policy with this name; raises :class:`ConfigurationError` where there is none."""
    if name not in LINEUP:
        raise ConfigurationError(
            f"no policy is called {name!r}{did_you_mean(name, LINEUP)}; --policy list names them"
        )
    return LINEUP[name]


def make(name: str, load: Load, conditions: Conditions, options: Options) -> Policy:
    """Return the named policy with these options on top of its defaults.

    Raises :class:`ConfigurationError` for an unknown policy or option.
    """
    entry = find(name)
    known = {**entry.defaults, **entry.grid}
    for option in options:
        if option not in known:
            raise ConfigurationError(
                f"{name} has no option {option!r}{did_you_mean(option, known)} (known: {', '.join(known)})"
            )
    return entry.make(load, conditions, {**entry.defaults, **options})


def tune(
    name: str, load: Load, conditions: Conditions, *, goal: float = 0.9999
) -> tuple[Options, list[tuple[Options, Outcome]]]:
    """Return the cheapest options that meet the goal in the load's first half, and all that was tried.

    Where none meets it, those with the greatest share of waits within the objective.
    """
    tried = [
        (options, simulate(load, make(name, load, conditions, options), conditions, part=(0.1, 0.5)))
        for options in find(name).settings()
    ]
    if not tried:
        return {}, []

    def rank(trial: tuple[Options, Outcome]) -> tuple[float, float]:
        outcome = trial[1]
        return (-min(outcome.within_objective, goal), outcome.pod_hours)

    return min(tried, key=rank)[0], tried
