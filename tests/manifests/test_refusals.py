"""A combination that would lose tasks or never work is refused, in one line that says what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.manifests.application import Application, ClusterSettings, QueueWork
from celeriac.deploy.manifests.kube_version import NEWEST, OLDEST, KubeVersion
from celeriac.deploy.manifests.pools import read_pools
from celeriac.deploy.manifests.render import Rendering, render

APP = Application(
    name="proj",
    cluster=ClusterSettings(k8s_image="proj/celery:1.8.0"),
    work={"celery": QueueWork(longest=100.0, at_most_once=("proj.a",))},
)


def rendering(app: Application = APP, version: KubeVersion = OLDEST, **pool: Any) -> Rendering:
    return render(app, read_pools({"cpu": pool}), version)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "grace < longest task": ({"grace": 60}, "the longest takes 100 s.*at least 125"),
    "longest < a task's limit": ({"longest": 60}, "a task of its queues may take 100 s"),
    "HPA and KEDA": ({"autoscale": ["hpa-desired", "keda-push"]}, "KEDA makes an HPA of its own"),
    "two HPAs": ({"autoscale": ["hpa-desired", "hpa-queue-length"]}, "both would pull"),
    "one by one, scaled": (
        {"workload": "statefulset", "pod_management": "ordered_ready", "autoscale": "keda-push"},
        "cannot be scaled",
    ),
    "an HPA to zero": ({"min": 0, "autoscale": "hpa-desired"}, "--kube-version 1.37"),
    "a queue that is not there": ({"queues": ["celry"]}, "did you mean 'celery'"),
    "too little memory": ({"concurrency": 64}, "at least 4160Mi"),
    "several in solo": ({"pool": "solo", "concurrency": 2}, "one task at a time"),
    "several processes on one GPU": ({"gpu": 1}, "concurrency to 1"),
    "tolerates GPUs without any": ({"tolerations": [{"key": "nvidia.com/gpu"}]}, "set gpu"),
    "a misspelt key": ({"concurency": 2}, "did you mean 'concurrency'"),
    "a misspelt value": ({"workload": "daemonset"}, "daemonset"),
    "a misspelt toleration": ({"tolerations": [{"keys": "a"}]}, "keys"),
    "min > max": ({"min": 30}, "more than max"),
    "a cap on GPUs without any": ({"max_gpus": 4}, "set gpu"),
    "a budget without a price": ({"budget": 4.0}, "set price"),
    "a budget for less than min": ({"budget": 4.0, "price": 2.0}, "allow 2 pods"),
    "no amount of memory": ({"memory": "2 GB"}, "2Gi"),
    "no cores": ({"cpu": "0"}, "more than nothing"),
    "memory for cores": ({"cpu": "2Gi"}, "500m"),
}


@pytest.mark.parametrize(("pool", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_combination_is_refused_with_the_reason(pool: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refusal:
        rendering(**pool)
    assert "pool 'cpu'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


RIGHT: dict[str, tuple[dict[str, Any], KubeVersion]] = {
    "as short as may be": ({"grace": 125}, OLDEST),
    "an HPA to zero where it is possible": ({"min": 0, "autoscale": "hpa-desired"}, NEWEST),
    "KEDA to zero": ({"min": 0, "autoscale": "keda-push"}, OLDEST),
    "one by one, not scaled": ({"workload": "statefulset", "pod_management": "ordered_ready"}, OLDEST),
    "a list of one": ({"autoscale": ["keda-push"]}, OLDEST),
    "threads on one GPU": ({"gpu": 1, "pool": "threads", "concurrency": 4}, OLDEST),
    "many coroutines in little memory": ({"pool": "asyncio", "concurrency": 500, "memory": "256Mi"}, OLDEST),
}


@pytest.mark.parametrize(("pool", "version"), RIGHT.values(), ids=RIGHT)
def test_a_right_combination_is_not(pool: dict[str, Any], version: KubeVersion) -> None:
    assert rendering(version=version, **pool).objects


def test_a_stock_worker_needs_a_visibility_timeout_beyond_the_grace() -> None:
    stock = msgspec.structs.replace(APP, stock_reason="its broker is not ours", redelivers_after=125.0)
    with pytest.raises(
        ConfigurationError, match="visibility_timeout in broker_transport_options to more than 125"
    ):
        rendering(stock)
    assert rendering(msgspec.structs.replace(stock, redelivers_after=126.0))
    with pytest.raises(ConfigurationError, match="nothing here can count its queues, as its broker is not"):
        rendering(msgspec.structs.replace(stock, redelivers_after=None), autoscale="keda-push")
    # The engine renews its leases; gevent is Celery's own.
    ours = msgspec.structs.replace(APP, redelivers_after=30.0)
    assert rendering(ours)
    with pytest.raises(ConfigurationError, match="the pool 'gevent' is one of its own"):
        rendering(ours, pool="gevent")


def test_secrets_are_kept_out_of_the_config_map() -> None:
    for name, value in (("DB_PASSWORD", "x"), ("BROKER", "redis://:hunter2@host/0"), ("AWS_SECRET_KEY", "x")):
        with pytest.raises(ConfigurationError, match="looks like a secret"):
            ClusterSettings.from_mapping({"k8s_config": {name: value}})
    assert ClusterSettings.from_mapping({"k8s_config": {"BROKER": "redis://host:6379/0"}})


@pytest.mark.parametrize("wrong", [{"k8s_imgae": "a:1"}, {"k8s_egress_ports": [0]}, {"k8s_user": 0}])
def test_a_wrong_cluster_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="k8s_"):
        ClusterSettings.from_mapping(wrong)


@pytest.mark.parametrize("declared", [[], {}, {"CPU": {}}, {"cpu": []}, {"a" * 41: {}}, "cpu"])
def test_pools_that_are_no_pools_are_refused(declared: object) -> None:
    with pytest.raises(ConfigurationError):
        read_pools(declared)


@pytest.mark.parametrize("text", ["1.29", "1.38", "2", "latest", ""])
def test_versions_that_nothing_is_known_of_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        KubeVersion.parse(text)


def test_versions_are_read_as_clusters_write_them() -> None:
    assert [str(KubeVersion.parse(text)) for text in ("1.33", "v1.34.2", "1.31.5-gke.100")] == [
        *("1.33", "1.34", "1.31")
    ]


WARNED: dict[str, tuple[Application, dict[str, Any], str]] = {
    "oscillation": (APP, {"autoscale": "hpa-queue-length"}, "oscillates"),
    "no limit": (
        msgspec.structs.replace(APP, work={"celery": QueueWork(unlimited=("proj.b",))}),
        {},
        "nothing limits proj.b: a pod waits 300 s",
    ),
    "grace beyond the autoscaler": (APP, {"longest": 700}, "marked not to be evicted"),
    "a scaled identity": (APP, {"workload": "statefulset", "autoscale": "keda-push"}, "highest pod first"),
    "leases longer than the grace": (
        msgspec.structs.replace(APP, lease_seconds=600),
        {},
        "engine_lease_seconds",
    ),
    "no image": (msgspec.structs.replace(APP, cluster=ClusterSettings()), {}, "k8s_image is not set"),
    "a file as broker": (msgspec.structs.replace(APP, broker_is_local=True), {}, "the broker is a file"),
    "a queue nobody consumes": (
        msgspec.structs.replace(APP, work={**APP.work, "mail": QueueWork()}),
        {"queues": ["celery"]},
        "no pool consumes the queue 'mail'",
    ),
}


@pytest.mark.parametrize(("app", "pool", "text"), WARNED.values(), ids=WARNED)
def test_what_is_likely_to_surprise_is_warned_of(app: Application, pool: dict[str, Any], text: str) -> None:
    assert [warning for warning in rendering(app, **pool).warnings if text in warning]


def test_nothing_is_warned_of_without_cause() -> None:
    assert rendering().warnings == []
