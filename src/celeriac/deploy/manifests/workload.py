"""The controller of a pool's pods, and what protects them when nodes are emptied."""

from __future__ import annotations

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.ending import Ending
from celeriac.deploy.manifests.kube_version import KubeVersion
from celeriac.deploy.manifests.names import Manifest, explained, head, selector_of, workload_name
from celeriac.deploy.manifests.pod import METRICS, worker_template
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.refusals import AUTOSCALER_PATIENCE
from celeriac.deploy.manifests.stock import stock_reason

__all__ = ["workload"]

_QUARTER = "25%"
_UNASKED = (
    ("CKV_K8S_8", "Celery's stock worker has no port; one that has ended is started again"),
    ("CKV_K8S_9", "nothing is sent to a worker, so nothing asks whether it is ready"),
)


def workload(name: str, pool: Pool, app: Application, ending: Ending, version: KubeVersion) -> list[Manifest]:
    """Return the objects of one pool: its controller, its service if it needs one, its disruption budget."""
    if pool.workload == "statefulset":
        return [
            _stateful_set(name, pool, app, ending, version),
            _headless_service(name, pool, app),
            _budget(name, app),
        ]
    return [_deployment(name, pool, app, ending), _budget(name, app)]


def _controller(kind: str, name: str, pool: Pool, app: Application, ending: Ending) -> Manifest:
    component = f"worker-{name}"
    controller = head(app, "apps/v1", kind, workload_name(name), component)
    controller["metadata"]["annotations"] = explained(app, *(_UNASKED if stock_reason(pool, app) else ()))
    template = worker_template(name, pool, app, ending)
    if ending.grace > AUTOSCALER_PATIENCE:
        annotations = template["metadata"]["annotations"]
        annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
        annotations["karpenter.sh/do-not-disrupt"] = "true"
    controller["spec"] = {
        # Whoever scales it owns the number: a manifest that names one would undo it with each change.
        **({} if pool.scalers else {"replicas": pool.min}),
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector_of(app, component)},
        "template": template,
    }
    return controller


def _deployment(name: str, pool: Pool, app: Application, ending: Ending) -> Manifest:
    deployment = _controller("Deployment", name, pool, app, ending)
    # GPUs are rarely there twice: the old pod has to go first.
    surge: Manifest = (
        {"maxSurge": 0, "maxUnavailable": 1} if pool.gpu else {"maxSurge": _QUARTER, "maxUnavailable": 0}
    )
    deployment["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": surge}
    # A pod that takes its time to end holds up no rollout.
    deployment["spec"]["progressDeadlineSeconds"] = int(pool.start) + ending.grace + 600
    return deployment


def _stateful_set(name: str, pool: Pool, app: Application, ending: Ending, version: KubeVersion) -> Manifest:
    stateful_set = _controller("StatefulSet", name, pool, app, ending)
    stateful_set["spec"]["serviceName"] = workload_name(name)
    parallel = pool.pod_management == "parallel"
    stateful_set["spec"]["podManagementPolicy"] = "Parallel" if parallel else "OrderedReady"
    strategy: Manifest = {"type": "RollingUpdate"}
    if version.has_statefulset_max_unavailable and parallel:
        strategy["rollingUpdate"] = {"maxUnavailable": _QUARTER}
    stateful_set["spec"]["updateStrategy"] = strategy
    return stateful_set


def _headless_service(name: str, pool: Pool, app: Application) -> Manifest:
    component = f"worker-{name}"
    service = head(app, "v1", "Service", workload_name(name), component)
    service["spec"] = {
        "clusterIP": "None",
        "selector": selector_of(app, component),
    }
    if stock_reason(pool, app) is None:
        service["spec"]["ports"] = [{"name": METRICS, "port": 80, "targetPort": METRICS, "protocol": "TCP"}]
    return service


def _budget(name: str, app: Application) -> Manifest:
    """``maxUnavailable``, as ``minAvailable`` would never let the node of a single pod be emptied."""
    component = f"worker-{name}"
    budget = head(app, "policy/v1", "PodDisruptionBudget", workload_name(name), component)
    budget["spec"] = {
        "maxUnavailable": _QUARTER,
        "selector": {"matchLabels": selector_of(app, component)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return budget
