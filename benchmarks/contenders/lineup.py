"""Who is measured, by which command, and how the harness sees in Redis that a contender has finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rig.private_redis import PrivateRedis

__all__ = ["CONTENDERS", "CORES", "Contender"]

#: What every worker is told to use, whatever the machine has.
CORES = 2
#: Threads of those who run tasks in threads, all in all: Dramatiq's default is eight in each process.
_THREADS = 8 * CORES

Count = Callable[[PrivateRedis], int]


@dataclass(frozen=True)
class Contender:
    name: str
    #: The module in this package that holds its ``adapter``.
    module: str
    #: The worker's arguments to Python; ``{broker}`` becomes the URL.
    worker: tuple[str, ...]
    #: How many tasks it may run at a time.
    slots: int
    #: Tasks per second to expect, only to choose how many tasks a measurement takes.
    pace: int
    #: Messages that are not settled yet, and results that are stored.
    unsettled: Count
    stored: Count
    #: Sections it takes part in; all of them if none is named.
    sections: tuple[str, ...] = ()
    #: Words in the log that mean: what runs is not what is to be measured.
    not_itself: str = ""

    @property
    def is_celeriac(self) -> bool:
        return self.module == "celeriac_app"

    def with_processes(self, count: int) -> Contender:
        """The same with as many processes, for one whose command says ``-c``."""
        place = self.worker.index("-c") + 1
        words = (*self.worker[:place], str(count), *self.worker[place + 1 :])
        return replace(self, worker=words, slots=count)

    def tasks(self, seconds: float) -> int:
        """How many tasks take about so long."""
        return max(20, 10 * round(self.pace * seconds / 10))


def _left_by_celery(redis: PrivateRedis) -> int:
    """Ready, in kombu's ``unacked``, or in lists of leases."""
    lists = redis.messages.scan_iter(count=1000, _type="list")
    return sum(redis.messages.llen(key) for key in list(lists)) + redis.messages.hlen("unacked")


def _left_by_taskiq(redis: PrivateRedis) -> int:
    groups = redis.messages.xinfo_groups("taskiq") if redis.messages.exists("taskiq") else []
    return sum(int(group["pending"]) + int(group["lag"] or 0) for group in groups)


def _left_by_rq(redis: PrivateRedis) -> int:
    return redis.messages.llen("rq:queue:default") + redis.messages.zcard("rq:wip:default")


def _keys_of_results(redis: PrivateRedis) -> int:
    return redis.results.dbsize()


def _celery(name: str, *options: str, pace: int, slots: int = CORES) -> Contender:
    command = ("-m", "celery", "-A", "contenders.stock_celery", "worker", "-l", "WARNING", *options)
    return Contender(name, "stock_celery", command, slots, pace, _left_by_celery, _keys_of_results)


def _celeriac(
    name: str,
    *options: str,
    pace: int,
    slots: int = CORES,
    sections: tuple[str, ...] = (),
    program: str = "celery",
) -> Contender:
    command = ("-m", program, "-A", "contenders.celeriac_app", "worker", "-l", "WARNING", *options)
    return Contender(
        name,
        "celeriac_app",
        command,
        slots,
        pace,
        _left_by_celery,
        _keys_of_results,
        sections,
        not_itself="stock worker runs here instead",
    )


CONTENDERS = (
    _celery("celery", "-c", str(CORES), pace=900),
    # What Celery's own guide to optimizing advises for many short tasks.
    _celery(
        "celery tuned",
        *("-c", str(CORES), "-O", "fair", "--prefetch-multiplier", "128"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        pace=1_000,
    ),
    _celery("celery threads", "-P", "threads", "-c", str(_THREADS), slots=_THREADS, pace=900),
    Contender(
        "huey",
        "huey_app",
        (
            "-m",
            "huey.bin.huey_consumer",
            "contenders.huey_app.app",
            "-k",
            "process",
            "-w",
            str(2 * CORES),
            "-q",
        ),
        slots=2 * CORES,
        pace=6_000,
        unsettled=lambda redis: redis.messages.llen("huey.redis.bench"),
        stored=lambda redis: redis.messages.hlen("huey.results.bench"),
    ),
    Contender(
        "dramatiq",
        "dramatiq_app",
        ("-m", "dramatiq", "contenders.dramatiq_app", "-p", str(CORES), "-t", str(_THREADS // CORES)),
        slots=_THREADS,
        pace=3_000,
        unsettled=lambda redis: redis.messages.hlen("dramatiq:default.msgs"),
        stored=_keys_of_results,
    ),
    Contender(
        "taskiq",
        "taskiq_app",
        (
            "-m",
            "taskiq",
            "worker",
            "contenders.taskiq_app:broker",
            "-w",
            str(CORES),
            "--log-level",
            "WARNING",
        ),
        slots=100 * CORES,
        pace=2_500,
        unsettled=_left_by_taskiq,
        stored=_keys_of_results,
    ),
    Contender(
        "rq",
        "rq_app",
        ("-m", "rq.cli", "worker-pool", "-n", str(CORES), "-q", "-u", "{broker}", "default"),
        slots=CORES,
        pace=60,
        unsettled=_left_by_rq,
        stored=lambda redis: redis.messages.zcard("rq:finished:default"),
    ),
    _celeriac("celeriac", "-c", str(CORES), pace=33_000),
    # The same worker, started by a command that has not loaded all of Celery's commands.
    _celeriac(
        "celeriac worker",
        *("-c", str(CORES)),
        pace=33_000,
        sections=("footprint",),
        program="celeriac",
    ),
    # With as many tasks at a time as the others have that run them in threads.
    _celeriac(
        "celeriac threads",
        *("-P", "threads", "-c", str(_THREADS)),
        slots=_THREADS,
        pace=10_000,
        sections=("sleep",),
    ),
)
