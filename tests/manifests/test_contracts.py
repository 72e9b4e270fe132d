"""What a platform team would write by hand, name by name: workers, settings, scaling, how a pod ends."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.deploy.manifests.application import Application, ClusterSettings
from celeriac.deploy.manifests.kube_version import NEWEST, OLDEST
from celeriac.deploy.manifests.pools import Pool, read_pools
from celeriac.deploy.manifests.render import render
from tests.manifests.rendering import described, find, rendered


def worker_of(workload: dict[str, Any]) -> dict[str, Any]:
    [container] = workload["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_a_worker_is_a_deployment_with_the_apps_own_configuration() -> None:
    deployment = find(rendered("plain"), "Deployment", "celery-worker")
    worker = worker_of(deployment)
    assert deployment["spec"]["replicas"] == 3
    assert worker["image"] == "proj/celery:1.8.0"
    assert worker["command"] == ["celery", "worker", "-l", "info"]
    assert worker["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
    assert {"configMapRef": {"name": "celery-config"}} in worker["envFrom"]
    assert {"secretRef": {"name": "broker-credentials"}} in worker["envFrom"]
    assert (
        find(rendered("plain"), "ConfigMap", "celery-config")["data"]["APP"] == "tests.manifests.apps.plain"
    )


def test_a_stateful_set_has_its_service_and_starts_in_parallel() -> None:
    rendering = rendered("media")
    spec = find(rendering, "StatefulSet", "celery-named")["spec"]
    assert (spec["serviceName"], spec["podManagementPolicy"]) == ("celery-named", "Parallel")
    service = find(rendering, "Service", "celery-named")["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"] == spec["selector"]["matchLabels"]


def test_the_hand_written_hpa_on_the_queue_length() -> None:
    app = Application(name="proj", cluster=ClusterSettings(k8s_image="proj/celery:1.8.0"))
    rendering = render(app, {"worker": Pool(autoscale="hpa-queue-length", longest=60)}, OLDEST)
    hpa = find(rendering, "HorizontalPodAutoscaler", "celery-autoscaler")
    assert hpa["apiVersion"] == "autoscaling/v2"
    assert hpa["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "celery-worker"},
        "minReplicas": 3,
        "maxReplicas": 20,
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": {"name": "celery_queue_length"},
                    "target": {"type": "AverageValue", "averageValue": "1000"},
                },
            }
        ],
    }
    assert [text for text in rendering.warnings if "oscillates" in text]


def test_the_hpa_on_desired_workers_aims_at_one_per_pod() -> None:
    hpa = find(rendered("media", NEWEST), "HorizontalPodAutoscaler", "celery-autoscaler-encode")
    [metric] = hpa["spec"]["metrics"]
    assert metric["external"] == {
        "metric": {"name": "celery_desired_workers", "selector": {"matchLabels": {"pool": "encode"}}},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }
    assert hpa["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0


@pytest.mark.parametrize(
    ("pool", "kind", "key"),
    [("infer", "external-push", "scalerAddress"), ("notify", "metrics-api", "url")],
)
def test_keda_asks_the_scaler_by_its_service(pool: str, kind: str, key: str) -> None:
    rendering = rendered("media")
    scaled = find(rendering, "ScaledObject", f"celery-autoscaler-{pool}")
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["type"] == kind
    address = trigger["metadata"][key].removeprefix("http://").partition("/")[0]
    name, _, port = address.partition(":")
    assert name == "celery-scaler.media.svc"
    service = find(rendering, "Service", "celery-scaler")
    assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]
    assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_whoever_scales_a_workload_owns_its_replicas() -> None:
    rendering = rendered("media")
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["kind"]
        for one in rendering.objects
        if "scaleTargetRef" in one.get("spec", {})
    }
    assert len(scaled) == 4
    for name in scaled:
        assert "replicas" not in find(rendering, "Deployment", name)["spec"]
    assert find(rendering, "StatefulSet", "celery-named")["spec"]["replicas"] == 2


def test_gpu_pods_go_where_the_gpus_are_and_replace_each_other() -> None:
    spec = find(rendered("media"), "Deployment", "celery-infer")["spec"]
    pod = spec["template"]["spec"]
    assert worker_of({"spec": spec})["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    others = find(rendered("media"), "Deployment", "celery-encode")["spec"]["template"]["spec"]
    assert not {"nodeSelector", "tolerations"} & others.keys()


def test_a_pod_waits_for_its_longest_task_and_then_ends_softly() -> None:
    for app, name, drain, soft, grace in (
        ("plain", "celery-worker", 60, 10, 85),
        ("media", "celery-encode", 1800, 20, 1835),
        ("media", "celery-notify", 900, 20, 935),
        ("logistics", "celery-worker", 300, 10, 325),
    ):
        deployment = find(rendered(app), "Deployment", name)
        worker = worker_of(deployment)
        hook = worker["lifecycle"]["preStop"]["exec"]["command"]
        assert hook == ["celeriac", "k8s", "drain", "--timeout", str(drain + 5)]
        assert {"name": "REMAP_SIGTERM", "value": "SIGQUIT"} in worker["env"]
        told = f"worker_soft_shutdown_timeout={soft}" in worker["args"]
        assert told == (app != "media"), "the app says so itself, or the command does"
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


def test_probes_ask_the_worker_itself() -> None:
    for app, port in (("plain", 9540), ("media", 9100)):
        rendering = rendered(app)
        workers = [o for o in rendering.objects if o["kind"] == "Deployment" and "worker" in str(o["spec"])]
        worker = worker_of(workers[0])
        assert worker["livenessProbe"]["httpGet"] == {"path": "/live", "port": "metrics"}
        assert worker["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}
        assert worker["ports"] == [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]
        assert (f"metrics_port=(int){port}" in worker["args"]) == (app == "plain")
        assert "metrics_host=(string)0.0.0.0" in worker["args"], "a pod is asked at its own address"


def test_beat_is_one_pod_that_remembers() -> None:
    spec = find(rendered("media"), "StatefulSet", "celery-beat")["spec"]
    assert spec["replicas"] == 1
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in [m["name"] for m in worker_of({"spec": spec})["volumeMounts"]]
    assert not [o for o in rendered("plain").objects if o["metadata"]["name"] == "celery-beat"]


def test_every_pod_has_as_few_rights_as_it_can_do_with() -> None:
    rendering = rendered("media")
    templates = [o["spec"]["template"]["spec"] for o in rendering.objects if "template" in o.get("spec", {})]
    assert len(templates) == 8
    for pod in templates:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    with_token = [pod["serviceAccountName"] for pod in templates if pod["automountServiceAccountToken"]]
    assert with_token == ["celery-scaler"]
    rules = find(rendering, "Role", "celery-scaler")["rules"]
    assert {rule["resources"][0]: rule["verbs"] for rule in rules} == {
        "pods": ["get", "list", "watch", "patch"],
        "deployments/scale": ["get"],
    }
    assert "*" not in str(rules)


def test_every_pod_is_selected_by_just_its_own_controller_and_by_the_network_policy() -> None:
    rendering = rendered("media")
    controllers = [o for o in rendering.objects if "template" in o.get("spec", {})]
    policy = find(rendering, "NetworkPolicy", "celery")["spec"]["podSelector"]["matchLabels"]
    for one in controllers:
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert policy.items() <= labels.items()
        matching = [
            other["metadata"]["name"]
            for other in controllers
            if other["spec"]["selector"]["matchLabels"].items() <= labels.items()
        ]
        assert matching == [one["metadata"]["name"]]


def test_the_exporter_leaves_tasks_and_workers_to_the_workers_own_ports() -> None:
    for app, port in (("plain", "9540"), ("media", "9100")):
        runner = worker_of(find(rendered(app), "Deployment", "celery-exporter"))
        assert [*runner["command"], *runner["args"]] == [
            *("celeriac", "metrics", "--port", port, "--host", "0.0.0.0", "--queues-only")
        ]


def test_there_is_one_scaler_and_what_it_has_learnt_is_on_a_volume() -> None:
    scaler = find(rendered("media"), "StatefulSet", "celery-scaler")["spec"]
    assert scaler["replicas"] == 1
    [claim] = scaler["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in worker_of({"spec": scaler})["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/celery-scaler"


def test_no_autoscaler_goes_beyond_what_gpus_and_a_budget_allow() -> None:
    app, _ = described("plain")
    pools = read_pools(
        {
            "infer": {"gpu": 2, "max_gpus": 9, "max": 20, "pool": "threads", "autoscale": "keda-push"},
            "cpu": {"price": 0.2, "budget": 1.5, "max": 20, "autoscale": "hpa-desired"},
        }
    )
    rendering = render(app, pools, OLDEST)
    keda = find(rendering, "ScaledObject", "celery-autoscaler")["spec"]
    hpa = find(rendering, "HorizontalPodAutoscaler", "celery-autoscaler-cpu")["spec"]
    assert (keda["maxReplicaCount"], hpa["maxReplicas"]) == (4, 7)


def test_prometheus_finds_the_scalers_numbers_and_may_ask_for_them() -> None:
    rendering = rendered("media")
    runner = worker_of(find(rendering, "StatefulSet", "celery-scaler"))
    assert [*runner["command"], *runner["args"]] == [
        *("celeriac", "scale", "serve", "--host", "0.0.0.0", "--grpc-port", "6000", "--port", "8080"),
        *("--state", "/var/lib/celery-scaler/state"),
    ]
    assert runner["livenessProbe"]["httpGet"] == {"path": "/live", "port": "http"}
    assert runner["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    ports = {entry["name"]: entry["containerPort"] for entry in runner["ports"]}
    monitor = find(rendering, "PodMonitor", "celery")["spec"]["podMetricsEndpoints"]
    assert [ports.get(endpoint["port"]) for endpoint in monitor] == [None, 8080]
    peers = find(rendering, "NetworkPolicy", "celery-scaler")["spec"]["ingress"]
    allowed = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], entry["port"])
        for rule in peers
        for peer in rule["from"]
        for entry in rule["ports"]
    }
    assert allowed == {("keda", 6000), ("keda", 8080), ("monitoring", 8080)}


def test_a_worker_of_celerys_own_is_not_asked_on_a_port_it_does_not_have() -> None:
    app = Application(name="proj", cluster=ClusterSettings(k8s_image="proj/celery:1.8.0"))
    pools = {"green": Pool(pool="gevent", longest=60), "cpu": Pool(longest=60)}
    rendering = render(app, pools, OLDEST)
    green, cpu = (worker_of(find(rendering, "Deployment", f"celery-{name}")) for name in pools)
    assert not {"startupProbe", "livenessProbe", "readinessProbe", "ports"} & green.keys()
    assert "metrics_port" not in str(green["args"])
    assert "livenessProbe" in cpu
    assert [text for text in rendering.warnings if "pool 'green': its workers are Celery's own" in text]
    foreign = Application(name="proj", cluster=app.cluster, stock_reason="its broker is another")
    kinds = {one["metadata"]["name"] for one in render(foreign, {"cpu": Pool(longest=60)}, OLDEST).objects}
    assert "celery-exporter" not in kinds
