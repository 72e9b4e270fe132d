"""A fleet under load meets one fault after the other, each at a named step, and is judged in the end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec

from celeriac.bridge.wire import decode
from celeriac.core.broker import Broker
from celeriac.core.lease import DeadLetter
from tests.chaos.tripwires import Tripwires
from tests.chaos.verdict import Affected, Verdict, judge
from tests.servers import RedisServer
from tests.stage import Stage
from tests.workers import ROOT, WorkerProcess

__all__ = ["STEPS", "Campaign", "Met", "plan"]

LEASE = 1.0
SHARDS = 2
#: Seconds that a process or node stands still: longer than any lease.
STOPPED = 2.5 * LEASE
#: Seconds in which a laid fault is met, a worker is there, and everything is done in the end.
MET_WITHIN, READY_WITHIN, DONE_WITHIN = 20.0, 30.0, 90.0

_SHARD = (
    "kill process",
    "kill process",
    "kill node",
    "stop process",
    "stop node",
    "out of memory",
    "restart broker",
)
_SUPERVISOR = ("kill process", "kill node", "stop process", "stop node", "out of memory", "restart broker")
#: The faults of each step; each is met before and after it.
STEPS: dict[str, tuple[str, ...]] = {
    "claim": _SHARD,
    "decode": _SHARD,
    "start": _SHARD,
    "run": _SHARD,
    "result": _SHARD,
    "ack": _SHARD,
    "retry": _SHARD,
    "delay": _SHARD,
    "promote": _SUPERVISOR,
    "reap": _SUPERVISOR,
    "publish": ("kill process", "stop process", "out of memory", "restart broker"),
}


class Met(msgspec.Struct, frozen=True):
    """A fault that was met."""

    step: str
    fault: str
    pid: int


def plan(seed: int, kills: int, broker: Broker, *, restarts: bool) -> list[tuple[str, str]]:
    """Return so many pairs of step and fault: every one there is before any comes a second time."""
    random = Random(seed)
    pairs = [
        (f"{step} {when}", fault)
        for step, faults in STEPS.items()
        if not (step == "delay" and broker.features.native_delay)
        for when in ("before", "after")
        for fault in faults
        if restarts or fault != "restart broker"
    ]
    planned: list[tuple[str, str]] = []
    while len(planned) < kills:
        random.shuffle(pairs)
        planned += pairs
    return planned[:kills]


class Campaign:
    """Two nodes and a producer on one broker; ``redis`` is its server, if it has one."""

    def __init__(self, folder: Path, redis: RedisServer | None, seed: int) -> None:
        self.stage = Stage(folder, redis)
        self.broker = self.stage.broker()
        self.affected: list[Affected] = []
        self.unexpected: list[str] = []
        self.met: Counter[tuple[str, str]] = Counter()
        self._redis = redis
        self._seed = seed
        self._folder = folder
        trips = folder / "tripwires"
        trips.mkdir()
        self._wires = Tripwires(trips)
        self._environment = {
            "BROKER": self.stage.url,
            "RESULTS": self.stage.results,
            "LEDGER": str(self.stage.ledger.path),
            "KEY_PREFIX": self.stage.prefix,
            "LEASE": str(LEASE),
            "TRIPWIRES": str(trips),
        }
        self._nodes: list[WorkerProcess] = []
        self._producer: subprocess.Popen[bytes] | None = None
        #: Supervisor, shard and time of death.
        self._killed_shards: list[tuple[int, int, float]] = []
        self._lives = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The fleet for the time of the block; nothing of it is left afterwards."""
        with ExitStack() as stack:
            stack.callback(self._end)
            for _ in range(2):
                self._nodes.append(self._new_node())
            for node in self._nodes:
                self._wait(lambda node=node: self._is_well(node), READY_WITHIN, f"{node.log.name} ready")
            self._start_producer()
            yield

    def meet(self, step: str, fault: str) -> Met | None:
        """Lay the fault at the step, see it met, and bring the fleet back; None if nobody got there."""
        pids = {node.pid: [node.pid, *_shards(node)] for node in self._nodes}
        self._wires.lay(step, fault)
        if not self._wait(self._wires.taken, MET_WITHIN, f"{fault} at {step}"):
            self._wires.clear()
            return None
        pid = self._wires.taken() or 0
        now = time.time()
        node = next(
            (node for node in self._nodes if pid in [node.pid, *pids[node.pid], *_shards(node)]), None
        )
        group = [] if node is None else sorted({*pids[node.pid], *_shards(node), pid})
        self._say(f"{fault} at {step}: process {pid} of node {None if node is None else node.pid}")
        self._excuse(fault, pid, group, supervisor=node is not None and pid == node.pid, now=now)
        if node is not None and (fault.endswith("node") or pid == node.pid):
            self._excuse_what_it_had_not_taken_back(node, now)
        elif node is not None and fault in ("kill process", "out of memory"):
            self._killed_shards.append((node.pid, pid, now))
        if fault == "restart broker":
            self._restart_broker()
        elif not fault.startswith("stop"):
            self._wait(lambda: self._is_over(fault, pid, node), MET_WITHIN, f"the death of {pid}")
        elif fault.startswith("stop"):
            time.sleep(STOPPED)
            self._continue(pid, node if fault == "stop node" else None)
        self._wires.clear()
        self._bring_back()
        self.met[step, fault] += 1
        return Met(step, fault, pid)

    def verdict(self) -> Verdict:
        """Let everything come to its end, then judge it."""
        self._stop_producer()
        stuck = [] if self._wait(self._all_ended, DONE_WITHIN, "the end of all tasks") else self._waiting()
        letters = {self._key(letter): letter for letter in self._letters()}
        verdict = judge(self.stage.ledger.path, self.affected, letters)
        verdict.stuck = stuck
        verdict.unexpected += self.unexpected
        return verdict

    # -- Faults

    def _excuse(self, fault: str, pid: int, group: list[int], *, supervisor: bool, now: float) -> None:
        """Note which repeats this fault explains."""
        if fault in ("kill node", "stop node"):
            self.affected += [Affected(one, node=True) for one in group]
        elif fault == "stop process" and supervisor:
            self.affected += [Affected(one, node=True) for one in group]  # nobody renews its shards' leases
        elif fault in ("kill process", "out of memory") and not supervisor:
            self.affected.append(Affected(pid))
        elif fault == "restart broker":
            everybody = [one for node in self._nodes for one in (node.pid, *_shards(node))]
            until = now + 10 * LEASE
            self.affected += [Affected(one, now - 5 * LEASE, until, node=True) for one in everybody]

    def _excuse_what_it_had_not_taken_back(self, node: WorkerProcess, now: float) -> None:
        """A supervisor that is gone may have owed the leases of shards that had died just before."""
        self.affected += [
            Affected(shard, node=True)
            for parent, shard, at in self._killed_shards
            if parent == node.pid and now - at < 5 * LEASE
        ]

    def _is_over(self, fault: str, pid: int, node: WorkerProcess | None) -> bool:
        """Whether whoever was to die has died; a parent hears of it a moment after the process is gone."""
        if node is not None and (fault == "kill node" or pid == node.pid):
            return node.process.poll() is not None and (fault != "kill node" or not _group_lives(node.pid))
        if self._producer is not None and pid == self._producer.pid:
            return self._producer.poll() is not None
        return not _lives(pid)

    def _restart_broker(self) -> None:
        assert self._redis is not None
        self._redis.kill()
        time.sleep(0.2)
        self._redis.start()

    def _continue(self, pid: int, node: WorkerProcess | None) -> None:
        with suppress(ProcessLookupError):
            if node is None:
                os.kill(pid, signal.SIGCONT)
            else:
                os.killpg(node.pid, signal.SIGCONT)

    def _bring_back(self) -> None:
        """Both nodes have all their shards, and there is a producer."""
        for index, node in enumerate(self._nodes):
            if node.process.poll() is not None:
                self._say(f"{node.log.name}: ended with {node.process.returncode}")
                with suppress(ProcessLookupError):  # what a killed supervisor leaves runs on for one task
                    self._wait(
                        lambda node=node: not _group_lives(node.pid), READY_WITHIN, "the end of orphans"
                    )
                self._nodes[index] = self._new_node()
        for node in self._nodes:
            self._wait(lambda node=node: self._is_well(node), READY_WITHIN, f"{node.log.name} well")
        if self._producer is None or self._producer.poll() is not None:
            self._start_producer()

    def _say(self, what: str) -> None:
        """Add a line to the campaign's own log, which is kept beside those of the workers."""
        with (self._folder / "campaign.log").open("a") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S.%f} {what}\n")

    # -- Processes

    def _new_node(self) -> WorkerProcess:
        self._lives += 1
        options = ["-c", str(SHARDS), "-n", f"life-{self._lives}@chaos", "-l", "warning"]
        log = self._folder / f"life-{self._lives}.log"
        node = WorkerProcess("tests.chaos.app", options, self._environment, log)
        self._say(f"{log.name}: node {node.pid}")
        return node

    def _is_well(self, node: WorkerProcess) -> bool:
        if node.process.poll() is not None:
            return False
        return sum(map(_lives, _shards(node))) == SHARDS  # its dead children may not have been replaced yet

    def _start_producer(self) -> None:
        self._lives += 1
        command = [sys.executable, "-m", "tests.chaos.producer", str(self._seed + self._lives)]
        environment = {**os.environ, **self._environment, "SEND_STEP": "publish"}
        with (self._folder / "producer.log").open("ab") as log:
            self._producer = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _stop_producer(self) -> None:
        if self._producer is not None:
            self._producer.kill()
            self._producer.wait()

    def _end(self) -> None:
        self._stop_producer()
        for node in self._nodes:
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.process.wait()

    # -- Looking

    def _wait(self, condition: Callable[[], object], seconds: float, what: str) -> bool:
        """Return whether it came true in time; if not, it is among the unexpected."""
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                self._say(f"{what}: not within {seconds:g} s")
                self.unexpected.append(f"{what}: not within {seconds:g} s")
                return False
            time.sleep(0.01)
        return True

    def _all_ended(self) -> bool:
        stats = self.broker.stats(["celery"])["celery"]
        return stats.ready == stats.leased == stats.delayed == 0

    def _waiting(self) -> list[str]:
        return [f"{self.broker.stats(['celery'])['celery']}"]

    def _letters(self) -> Iterator[DeadLetter]:
        offset = 0
        while letters := self.broker.dead_letters(offset, 500):
            yield from letters
            offset += len(letters)

    def _key(self, letter: DeadLetter) -> str:
        delivered = decode(letter.message.payload, frozenset(["application/json"]))
        key: str = delivered.args[0]
        return f"{key} again" if delivered.headers.get("retries") else key

    def ledger_rows(self) -> int:
        """How many rows the ledger has."""
        connection = sqlite3.connect(self.stage.ledger.path, timeout=30)
        try:
            return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
        finally:
            connection.close()


def _shards(node: WorkerProcess) -> list[int]:
    """The process ids of the node's children; none once it is gone."""
    try:
        return node.shards()
    except FileNotFoundError:
        return []


def _group_lives(group: int) -> bool:
    """Whether a process of the group is left that is not a zombie."""
    return any(_lives(int(folder.name), group) for folder in Path("/proc").glob("[0-9]*"))


def _lives(pid: int, group: int | None = None) -> bool:
    """Whether the process is there, is no zombie and, if a group is given, belongs to it."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] != "Z" and (group is None or int(fields[2]) == group)
    return False
