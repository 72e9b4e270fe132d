"""What is scraped, under Celeriac's own names; ``celery_queue_length`` is what scalers ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from celeriac.core.watch import Backlog, Memory
from celeriac.observe.labels import LabelCaps
from celeriac.observe.prometheus import Family
from celeriac.observe.queues import QueueNow
from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import BOUNDS, OUTCOMES, SIZES, Counts, Histogram, TaskCounts

__all__ = [
    "add_histogram",
    "broker_families",
    "label_families",
    "memory_families",
    "outbox_families",
    "queue_families",
    "task_families",
    "worker_families",
]


def add_histogram(
    family: Family, counted: Histogram, bounds: Sequence[float] = BOUNDS, /, **labels: str
) -> None:
    """Add a histogram's samples; none if nothing was counted."""
    if not counted.count:
        return
    for bound, count in zip(bounds, accumulate(counted.buckets), strict=False):
        family.add(count, "_bucket", **labels, le=str(float(bound)))
    family.add(counted.count, "_bucket", **labels, le="+Inf")
    family.add(counted.count, "_count", **labels)
    family.add(counted.sum, "_sum", **labels)


def queue_families(queues: Iterable[QueueNow]) -> Iterator[Family]:
    """Yield what is known of queues; zeros too, as a scaler must not be left without an answer."""
    length = Family("celery_queue_length", "Messages that wait to be claimed, of all priorities.", "gauge")
    depth = Family("celeriac_queue_depth", "Messages that wait to be claimed.", "gauge")
    unacked = Family("celeriac_queue_unacked", "Messages that a worker holds a lease of.", "gauge")
    held = Family("celeriac_queue_scheduled", "Messages held back until they are due.", "gauge")
    dead = Family("celeriac_dead_letters", "Messages that nobody will run unless asked to.", "gauge")
    age = Family("celeriac_queue_oldest_message_age_seconds", "Time since it was published or due.", "gauge")
    drain = Family(
        "celeriac_queue_drain_seconds", "Time in which all that waits will have been run.", "gauge"
    )
    workers = Family("celeriac_queue_workers", "Workers that consume from the queue.", "gauge")
    slots = Family("celeriac_queue_processes", "Tasks that those workers can run at a time.", "gauge")
    came = Family("celeriac_queue_arrivals", "Messages that came, since this process began.", "counter")
    went = Family(
        "celeriac_queue_departures", "Messages run to their end, since this process began.", "counter"
    )
    for queue in queues:
        name, stats = queue.name, queue.stats
        for family, value in (
            *((length, stats.ready), (depth, stats.ready), (unacked, stats.leased)),
            *((held, stats.delayed), (dead, stats.dead), (workers, queue.workers), (slots, queue.slots)),
            *((came, queue.arrived), (went, queue.departed)),
            *((age, queue.oldest_seconds), (drain, queue.drain_seconds)),
        ):
            if value is not None:
                family.add(value, queue=name)
    yield from (length, depth, unacked, held, dead, age, drain, workers, slots, came, went)


def task_families(counts: Counts) -> Iterator[Family]:
    """Yield what has become of tasks, over all processes that were counted."""
    started = Family("celeriac_tasks_started", "Deliveries that began to run.", "counter")
    finished = Family("celeriac_tasks_finished", "Deliveries that ended, by what became of them.", "counter")
    again = Family("celeriac_task_redeliveries", "Deliveries of messages delivered before.", "counter")
    took = Family("celeriac_task_duration_seconds", "Run time of a task's body.", "histogram")
    waited = Family("celeriac_task_queue_wait_seconds", "From published, or due, to started.", "histogram")
    late = Family(
        "celeriac_schedule_lateness_seconds", "From due (eta, countdown, retry) to started.", "histogram"
    )
    sizes = Family("celeriac_task_payload_bytes", "Size of a started task's message.", "histogram")
    for (queue, task), one in counts.tasks.items():
        started.add(one.started, queue=queue, task=task)
        for outcome, count in zip(OUTCOMES, one.ended, strict=True):
            if count:
                finished.add(count, queue=queue, task=task, outcome=outcome)
        add_histogram(took, one.succeeded_in, queue=queue, task=task, outcome="succeeded")
        add_histogram(took, one.failed_in, queue=queue, task=task, outcome="failed")
    for queue, total in _by_queue(counts).items():
        again.add(total.redelivered, queue=queue)
        add_histogram(waited, total.waited, queue=queue)
        add_histogram(late, total.late, queue=queue)
        add_histogram(sizes, total.size, SIZES, queue=queue)
    yield from (started, finished, again, took, waited, late, sizes)
    yield from _event_families(counts)


def _by_queue(counts: Counts) -> dict[str, TaskCounts]:
    found: dict[str, TaskCounts] = {}
    for (queue, _), one in counts.tasks.items():
        found.setdefault(queue, TaskCounts()).add(one)
    return found


#: Kinds of events that are shown as counters: name, help, and the labels of their two words.
_EVENTS = {
    "failure": ("celeriac_task_failures", "Failures by class of exception.", ("task", "exception")),
    "buried": ("celeriac_dead_letters_buried", "Messages that became dead letters.", ("queue", "reason")),
    "renewed": ("celeriac_lease_renewals", "Times that leases of a process were renewed.", ()),
    "expired": ("celeriac_lease_expirations", "Leases of the dead that went back to their queues.", ()),
    "lease_lost": ("celeriac_leases_lost", "Leases taken back from a process that was too slow.", ()),
    "restart": ("celeriac_worker_child_restarts", "Processes of workers that ended, by why.", ("reason",)),
    "reconnect": ("celeriac_worker_broker_reconnects", "Times that the broker was away and came back.", ()),
}


def _event_families(counts: Counts) -> Iterator[Family]:
    for kind, (name, text, labels) in _EVENTS.items():
        family = Family(name, text, "counter")
        totals: dict[tuple[str, ...], int] = {}
        for (found, *words), count in counts.events.items():
            if found == kind:
                values = tuple(words[: len(labels)])
                totals[values] = totals.get(values, 0) + count
        if not totals and not labels:
            totals[()] = 0
        for values, count in totals.items():
            family.add(count, **dict(zip(labels, values, strict=True)))
        yield family


def worker_families(workers: Iterable[WorkerReport]) -> Iterator[Family]:
    """Yield how workers are; the only families that tell them apart."""
    up = Family("celeriac_worker_up", "Whether the worker has been heard of lately.", "gauge")
    slots = Family("celeriac_worker_processes", "Tasks that it can run at a time.", "gauge")
    busy = Family("celeriac_worker_busy_processes", "Tasks that it runs.", "gauge")
    ratio = Family("celeriac_worker_utilisation_ratio", "The share of its slots that are busy.", "gauge")
    beat = Family("celeriac_worker_heartbeat_timestamp_seconds", "Its last sign of life.", "gauge")
    about = Family("celeriac_worker_info", "What it is.", "gauge")
    for report in workers:
        worker = report.hostname
        up.add(1, worker=worker)
        slots.add(report.slots, worker=worker)
        busy.add(report.busy, worker=worker)
        ratio.add(min(report.busy / report.slots, 1.0) if report.slots else 0.0, worker=worker)
        beat.add(report.at, worker=worker)
        about.add(1, worker=worker, pool=report.pool, version=report.version, python=report.python)
    yield from (up, slots, busy, ratio, beat, about)


def broker_families(asked_for: float | None) -> Iterator[Family]:
    """Yield whether the broker has answered, and in how many seconds; None: it has not."""
    up = Family("celeriac_broker_up", "Whether the broker has answered.", "gauge")
    ping = Family("celeriac_broker_ping_seconds", "How long its answers took together.", "gauge")
    up.add(int(asked_for is not None))
    if asked_for is not None:
        ping.add(asked_for)
    yield from (up, ping)


def label_families(caps: LabelCaps) -> Iterator[Family]:
    """Yield how many values are not shown by name."""
    overflow = Family("celeriac_label_overflow", "Values that are shown together as _other.", "counter")
    for label, count in caps.folded.items():
        overflow.add(count, label=label)
    yield overflow


def memory_families(memory: Memory) -> Iterator[Family]:
    """Yield what the broker's server takes of its machine's memory."""
    used = Family("celeriac_broker_memory_bytes", "Memory that the broker takes.", "gauge")
    most = Family("celeriac_broker_memory_max_bytes", "Memory that it may take; absent: no limit.", "gauge")
    evicted = Family("celeriac_broker_evicted_keys", "Keys thrown away for want of memory.", "counter")
    used.add(memory.used_bytes)
    if memory.most_bytes is not None:
        most.add(memory.most_bytes)
    evicted.add(memory.evicted_keys)
    yield from (used, most, evicted)


def outbox_families(backlogs: Sequence[Backlog]) -> Iterator[Family]:
    """Yield what waits in outboxes."""
    pending = Family("celeriac_outbox_pending", "Committed messages that have not left.", "gauge")
    age = Family("celeriac_outbox_oldest_age_seconds", "Time since the oldest of them was written.", "gauge")
    dead = Family("celeriac_outbox_dead", "Messages that the broker has refused for good.", "gauge")
    for backlog in backlogs:
        pending.add(backlog.depth, database=backlog.database)
        age.add(backlog.oldest_seconds, database=backlog.database)
        dead.add(backlog.dead, database=backlog.database)
    yield from (pending, age, dead)
