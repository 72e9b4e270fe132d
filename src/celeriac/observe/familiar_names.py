"""The same numbers under the names of celery-exporter and of Flower, for dashboards made for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from celeriac.observe.families import add_histogram
from celeriac.observe.prometheus import Family
from celeriac.observe.queues import QueueNow
from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import OUTCOMES, TaskCounts

__all__ = ["exporter_families", "flower_families", "with_exporter_label"]

_COUNTED = ("succeeded", "rejected", "revoked", "retried")
#: Flower's types of events, by what is counted.
_TYPES = {outcome: f"task-{outcome}" for outcome in ("succeeded", "failed", "retried", "rejected", "revoked")}


def with_exporter_label(families: Iterable[Family]) -> Iterator[Family]:
    """``celery_queue_length`` names its queue as celery-exporter does, too."""
    for family in families:
        if family.name == "celery_queue_length":
            family.samples = [
                (suffix, {**labels, "queue_name": labels["queue"]}, value)
                for suffix, labels, value in family.samples
            ]
        yield family


def exporter_families(
    workers: Iterable[WorkerReport], queues: Iterable[QueueNow], missing: Iterable[str] = ()
) -> Iterator[Family]:
    """Yield celery-exporter's metrics; those who are ``missing`` are down."""
    about = {
        name: Family(f"celery_task_{name}", f"Tasks {name}.", "counter")
        for name in ("sent", "received", "started", "failed", *_COUNTED)
    }
    runtime = Family("celery_task_runtime", "Histogram of task runtime measurements.", "histogram")
    waited = Family("celery_task_queue_wait_time", "Time from sent to started.", "histogram")
    up = Family("celery_worker_up", "Indicates if a worker has recently sent a heartbeat.", "gauge")
    active = Family("celery_worker_tasks_active", "Tasks the worker is processing.", "gauge")
    for report in workers:
        host = _host(report.hostname)
        up.add(1, hostname=host)
        active.add(report.busy, hostname=host)
        for (queue, task), one in report.counts.tasks.items():
            labels = {"name": task, "hostname": host, "queue_name": queue}
            _add_exporters(about, one, labels)
            add_histogram(runtime, one.succeeded_in, **labels)
            add_histogram(waited, one.waited, **labels)
        _add_failures(about["failed"], report, host)
    for hostname in missing:
        up.add(0, hostname=_host(hostname))
    yield from (*about.values(), runtime, waited, up, active)
    yield from _exporters_queues(queues)


def _add_exporters(about: Mapping[str, Family], one: TaskCounts, labels: dict[str, str]) -> None:
    ended = dict(zip(OUTCOMES, one.ended, strict=True))
    received = one.started + ended["revoked"]
    # Who sends tasks is not asked: what was received had been sent.
    for name, count in {"sent": received, "received": received, "started": one.started}.items():
        about[name].add(count, **labels)
    for name in _COUNTED:
        about[name].add(ended[name], **labels)


def _add_failures(family: Family, report: WorkerReport, host: str) -> None:
    """Exceptions are not known by queue: they count for the one most failures of the task are from."""
    failed = OUTCOMES.index("failed")
    queues: dict[str, str] = {}
    for (queue, task), _ in sorted(report.counts.tasks.items(), key=lambda item: item[1].ended[failed]):
        queues[task] = queue
    for task, queue in queues.items():
        family.add(0, name=task, hostname=host, queue_name=queue, exception="")
    for (kind, task, exception), count in report.counts.events.items():
        if kind == "failure":
            queue = queues.get(task, "")
            family.add(count, name=task, hostname=host, queue_name=queue, exception=exception)


def _exporters_queues(queues: Iterable[QueueNow]) -> Iterator[Family]:
    processes = Family("celery_active_process_count", "Active processes in broker queue.", "gauge")
    workers = Family("celery_active_worker_count", "Active workers in broker queue.", "gauge")
    for queue in queues:
        processes.add(queue.slots, queue_name=queue.name)
        workers.add(queue.workers, queue_name=queue.name)
    yield from (processes, workers)


def flower_families(workers: Iterable[WorkerReport], missing: Iterable[str] = ()) -> Iterator[Family]:
    """Yield Flower's metrics; those who are ``missing`` are offline."""
    events = Family("flower_events", "Number of events", "counter")
    runtime = Family("flower_task_runtime_seconds", "Task runtime", "histogram")
    waits = Family("flower_task_prefetch_time_seconds", "Time waited at the worker: none here.", "gauge")
    held = Family("flower_worker_prefetched_tasks", "Tasks prefetched at a worker: none here.", "gauge")
    online = Family("flower_worker_online", "Worker online status", "gauge")
    running = "flower_worker_number_of_currently_executing_tasks"
    active = Family(running, "Number of tasks currently executing at a worker", "gauge")
    for report in workers:
        worker = report.hostname
        online.add(1, worker=worker)
        active.add(report.busy, worker=worker)
        for task, one in _by_task(report).items():
            ended = dict(zip(OUTCOMES, one.ended, strict=True))
            counted = {kind: ended[outcome] for outcome, kind in _TYPES.items()}
            counted |= {"task-received": one.started + ended["revoked"], "task-started": one.started}
            for kind, count in counted.items():
                if count:
                    events.add(count, worker=worker, type=kind, task=task)
            add_histogram(runtime, one.succeeded_in, worker=worker, task=task)
            waits.add(0, worker=worker, task=task)
            held.add(0, worker=worker, task=task)
    for hostname in missing:
        online.add(0, worker=hostname)
    yield from (events, runtime, waits, held, online, active)


def _by_task(report: WorkerReport) -> dict[str, TaskCounts]:
    found: dict[str, TaskCounts] = {}
    for (_, task), one in report.counts.tasks.items():
        found.setdefault(task, TaskCounts()).add(one)
    return found


def _host(hostname: str) -> str:
    """Return the name of the machine, as celery-exporter has it, for a node named after it alone."""
    node, _, host = hostname.partition("@")
    return host if node == "celery" and host else hostname
