"""An app with pools of every kind: on CPUs and GPUs, with identity, scaled in every way, with a schedule."""

from __future__ import annotations

from functools import partial

from celeriac import Celery

app = Celery("media", broker="rediss://broker.example:6380/0", backend="redis://results:6379/0")
app.conf.update(
    k8s_image="registry.example/media/celery:2026.11.1",
    k8s_namespace="media",
    k8s_config={"LANG": "C.UTF-8", "GREETING": "{{ not Helm's }}"},
    worker_soft_shutdown_timeout=20,
    metrics_port=9100,
    task_routes={"media.encode": "encode", "media.infer": "infer", "media.notify": "notify"},
    beat_schedule={"tidy": {"task": "media.tidy", "schedule": 3600.0}},
    pools={
        "web": {"queues": ["celery"], "autoscale": "hpa-queue-length", "cpu": 1, "memory": "1Gi"},
        "encode": {"queues": ["encode"], "autoscale": "hpa-desired", "cpu": "4", "min": 1, "max": 40},
        "infer": {
            "queues": ["infer"],
            "gpu": 1,
            "pool": "solo",
            "cpu": "500m",
            "memory": "16Gi",
            "min": 0,
            "max": 4,
            "start": 600,
            "autoscale": "keda-push",
            "priority_class": "gpu-batch",
        },
        "notify": {
            "queues": ["notify"],
            "pool": "asyncio",
            "concurrency": 200,
            "autoscale": "keda-metrics-api",
            "longest": 900,
        },
        "named": {"queues": ["encode", "celery"], "workload": "statefulset", "min": 2},
    },
)


#: Celery gives every app of a process the tasks of the others, unless they say so.
own_task = partial(app.task, shared=False)


@own_task(name="media.encode", time_limit=1800, acks_late=True)
def encode() -> None: ...


@own_task(name="media.infer", time_limit=120, acks_late=True)
def infer() -> None: ...


@own_task(name="media.notify", time_limit=30)
def notify() -> None: ...


@own_task(name="media.tidy", time_limit=300)
def tidy() -> None: ...
