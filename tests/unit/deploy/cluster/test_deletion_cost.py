"""The pods that go first are the idlest, with few writes; victims are chosen in Kubernetes' own order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from celeriac.deploy.cluster.deletion_cost import changes_of_cost
from celeriac.deploy.cluster.pods import Pod, PodWatch, read_pods
from tests.replica_set import victims


def pods(count: int) -> list[Pod]:
    return [Pod(name=f"pod-{number}", created=number, ready_since=number + 5.0) for number in range(count)]


def ended(present: Sequence[Pod], ages: Mapping[str, float], count: int) -> list[str]:
    """Who goes, once the costs are written."""
    changes = changes_of_cost(present, ages, count)
    marked = [msgspec.structs.replace(pod, cost=changes.get(pod.name, pod.cost)) for pod in present]
    return [pod.name for pod in victims(marked, count, now=100.0)]


@pytest.mark.parametrize("seed", range(30))
def test_no_busy_pod_goes_while_an_idle_one_stays(seed: int) -> None:
    random_ = random.Random(seed)
    present = [
        msgspec.structs.replace(pod, cost=random_.choice([0, 0, 0, 12, 400, 1_000_000])) for pod in pods(20)
    ]
    ages = {pod.name: random_.uniform(0, 600) for pod in present if random_.random() < 0.6}
    for count in (1, 3, 8, 15):
        going = ended(present, ages, count)
        idle = len(present) - len(ages)
        assert sum(name not in ages for name in going) == min(count, idle)
        if count > idle:  # then those whose work is youngest
            busy = sorted(ages, key=lambda name: int(ages[name]))[: count - idle]
            assert {int(ages[name]) for name in going if name in ages} == {int(ages[name]) for name in busy}


def test_only_costs_that_matter_are_written() -> None:
    present = pods(10)
    ages = {"pod-8": 30.0, "pod-9": 5.0}
    assert changes_of_cost(present, ages, 2) == {"pod-8": 40, "pod-9": 15}
    marked = [
        msgspec.structs.replace(pod, cost={"pod-8": 40, "pod-9": 15}.get(pod.name, 0)) for pod in present
    ]
    assert changes_of_cost(marked, {"pod-8": 45.0, "pod-9": 20.0}, 2) == {}
    # Where the template gives everybody a high cost, only who is to go is written to.
    dear = [msgspec.structs.replace(pod, cost=1_000_000) for pod in present]
    assert changes_of_cost(dear, ages, 2) == {"pod-0": 0, "pod-1": 0}
    assert changes_of_cost(present, ages, 10) == {}
    assert changes_of_cost(present, ages, 0) == {}


def test_pods_that_start_go_before_any_that_works() -> None:
    starting = Pod(name="new", created=99.0)
    assert changes_of_cost([*pods(3), starting], {"pod-0": 1.0}, 1) == {}


def test_pods_are_read_as_the_api_tells_of_them() -> None:
    def item(name: str, ready: str, phase: str = "Running", **about: object) -> dict[str, object]:
        conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:01:00Z"}]
        metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:15Z", **about}
        return {"metadata": metadata, "status": {"phase": phase, "conditions": conditions}}

    cost = {"controller.kubernetes.io/pod-deletion-cost": "7"}
    items = [
        item("a", "True", annotations=cost),
        item("b", "False", phase="Pending"),
        item("c", "True", deletionTimestamp="2026-01-01T00:02:00Z"),
        item("d", "False", phase="Failed"),
    ]
    found = read_pods(items)
    assert [(pod.name, pod.cost, pod.terminating) for pod in found] == [
        ("a", 7, False),
        ("b", 0, False),
        ("c", 0, True),
    ]
    watch = PodWatch()
    watch.since(1767225600.0, [found[1]])
    now = watch.since(1767225700.0, found)
    assert (now.ready, now.starting, now.started, now.terminating) == (1, (85.0,), (45.0,), 1)
