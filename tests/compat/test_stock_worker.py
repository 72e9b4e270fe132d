"""Celery's own worker, beat and commands on an SQLite broker and SQLite results."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.broker import QueueStats
from tests.servers import wait_until
from tests.workers import ROOT, Ledger, WorkerProcess, worker

APP = "tests.compat.apps.stock"


class StockStage:
    """A folder with a broker, results and a ledger; and an app that sends to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db")
        self.environment = {
            "BROKER": f"sqlite:///{folder}/broker.db",
            "RESULTS": f"sqlite:///{folder}/results.db",
            "LEDGER": str(self.ledger.path),
        }
        self.app = Celery(
            "producer",
            broker=self.environment["BROKER"],
            backend=self.environment["RESULTS"],
            set_as_current=False,
        )
        self.app.conf.broker_transport = "celeriac.bridge.transport:SqliteTransport"

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        """Return the signature of a task of the test app."""
        return self.app.signature(f"{APP}.{name}", args=args, options=options)

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.task(name, *args).apply_async(**options)

    def worker(
        self, *options: str, log: str = "worker.log", **environment: str
    ) -> AbstractContextManager[WorkerProcess]:
        variables = {**self.environment, **environment}
        return worker(APP, *options, environment=variables, log=self.folder / log)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Celery's to its end."""
        return subprocess.run(
            [sys.executable, "-m", "celery", "-A", APP, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stats(self) -> QueueStats:
        with closing(SqliteBroker(self.folder / "broker.db")) as broker:
            return broker.stats(["celery"])["celery"]


@pytest.fixture
def stage(tmp_path: Path) -> StockStage:
    return StockStage(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockStage]:
    """A stage on which a prefork worker of Celery's runs all the time."""
    stage = StockStage(tmp_path_factory.mktemp("prefork"))
    with stage.worker("-c", "2"):
        yield stage


def test_results_and_errors_come_back(running: StockStage) -> None:
    assert running.send("add", 1, 2).get(timeout=20) == 3
    with pytest.raises(ValueError, match="no good"):
        running.send("fail", "no good").get(timeout=20)


def test_a_task_that_retries_succeeds_in_the_end(running: StockStage) -> None:
    assert running.send("flaky", 2).get(timeout=20) == 2


def test_a_countdown_is_waited_for_in_the_broker(running: StockStage) -> None:
    result = running.send("note", "later", countdown=0.7)
    assert running.stats().delayed == 1
    assert running.ledger.count("ran", "later") == 0
    assert result.get(timeout=20) == "later"


def test_chains_groups_and_chords(running: StockStage) -> None:
    header = [running.task("add", number, number) for number in range(20)]
    chained = chain(running.task("add", 1, 2), running.task("add", 10)).apply_async()
    grouped = group(header, app=running.app).apply_async()
    summed = chord(header, running.task("total"), app=running.app).apply_async()
    assert chained.get(timeout=20) == 13
    assert grouped.get(timeout=20) == [2 * number for number in range(20)]
    assert summed.get(timeout=20) == 380


def test_a_chord_whose_part_fails_fails(running: StockStage) -> None:
    header = [running.task("add", 1, 1), running.task("fail", "one part")]
    result = chord(header, running.task("total"), app=running.app).apply_async()
    with pytest.raises(Exception, match="one part"):
        result.get(timeout=20)


def test_remote_control_reaches_the_worker(running: StockStage) -> None:
    until = running.folder / "remote"
    held = running.send("hold", "remote", str(until))
    wait_until(lambda: running.ledger.count("ran", "remote"))
    inspect = running.app.control.inspect(timeout=20, limit=1)
    [active] = inspect.active().values()
    assert [task["id"] for task in active] == [held.id]
    [stats] = inspect.stats().values()
    assert stats["broker"]["transport"].endswith("SqliteTransport")
    [reply] = running.app.control.rate_limit(f"{APP}.add", "100/s", reply=True, timeout=20, limit=1)
    assert next(iter(reply.values())) == {"ok": "new rate limit set successfully"}
    until.touch()
    assert held.get(timeout=20) is False


def test_the_ping_command_finds_the_worker(running: StockStage) -> None:
    ping = running.command("inspect", "-t", "20", "-d", f"celery@{socket.gethostname()}", "--json", "ping")
    assert '{"ok": "pong"}' in ping.stdout, ping.stderr
    assert ping.returncode == 0


def test_events_are_received(running: StockStage) -> None:
    seen: list[str] = []

    def receive() -> None:
        with running.app.connection_for_read() as connection:
            receiver = running.app.events.Receiver(
                connection, handlers={"*": lambda event: seen.append(event["type"])}
            )
            for _ in receiver.itercapture(timeout=20):
                if "task-succeeded" in seen:
                    break

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    wait_until(lambda: "worker-heartbeat" in seen, what="a heartbeat")
    running.send("add", 1, 2)
    thread.join(20)
    assert not thread.is_alive()
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen)


def test_processes_that_send_at_once_lose_nothing(running: StockStage) -> None:
    program = "import sys; from {app} import note; [note.delay(f'{{sys.argv[1]}}-{{n}}') for n in range(100)]"
    producers = [
        subprocess.Popen(
            [sys.executable, "-c", program.format(app=APP), name],
            cwd=ROOT,
            env={**os.environ, **running.environment},
        )
        for name in ("left", "right")
    ]
    assert [producer.wait(timeout=30) for producer in producers] == [0, 0]
    expected = {f"{name}-{number}" for name in ("left", "right") for number in range(100)}
    wait_until(lambda: expected <= running.ledger.keys("ran"), what="all 200 tasks")
    assert running.ledger.count("ran", "left-%") == running.ledger.count("ran", "right-%") == 100


def test_beat_sends_on_time(running: StockStage) -> None:
    command = [sys.executable, "-m", "celery", "-A", APP, "beat", "-s", f"{running.folder}/schedule"]
    beat = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **running.environment}, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: running.ledger.count("ran", "tick") >= 2, what="two ticks")
    finally:
        beat.kill()
        beat.wait()
    first, second, *_ = running.ledger.times("ran", "tick")
    assert 0.5 < second - first < 5


def test_the_purge_command_empties_the_queue(stage: StockStage) -> None:
    stage.send("add", 1, 2)
    stage.send("add", 1, 2, countdown=60)
    purge = stage.command("purge", "-f")
    assert "Purged 2 messages" in purge.stdout, purge.stderr
    assert stage.stats() == QueueStats()


def test_solo_serves_lower_priorities_first_and_obeys_a_shutdown(stage: StockStage) -> None:
    for priority in (9, 5, 0):
        stage.send("note", f"priority-{priority}", priority=priority)
    with stage.worker("-P", "solo") as solo:
        wait_until(lambda: stage.ledger.count("ran") == 3)
        stage.command("control", "shutdown")  # Celery's worker replies to all commands but this one
        assert solo.process.wait(timeout=30) == 0
    order = sorted(stage.ledger.keys("ran"), key=lambda key: stage.ledger.times("ran", key))
    assert order == ["priority-0", "priority-5", "priority-9"]
    assert stage.stats() == QueueStats()
    with closing(sqlite3.connect(stage.folder / "broker.db")) as file:
        assert file.execute("SELECT queue FROM bindings").fetchall() == [("celery",)]


def test_threads_acknowledge_what_they_ran(stage: StockStage) -> None:
    until = stage.folder / "until"
    with stage.worker("-P", "threads", "-c", "4"):
        results = [stage.send("hold", f"thread-{number}", str(until)) for number in range(12)]
        wait_until(lambda: stage.ledger.count("ran") == 4, what="four tasks at once")
        assert stage.stats().leased >= 4
        until.touch()
        assert [result.get(timeout=20) for result in results] == [False] * 12
        wait_until(lambda: stage.stats() == QueueStats(), what="all acknowledgements")


def test_what_a_killed_worker_was_running_runs_again_elsewhere(stage: StockStage) -> None:
    until = stage.folder / "until"
    with stage.worker("-P", "solo", LEASE="1") as first:
        result = stage.send("hold", "kept", str(until))
        wait_until(lambda: stage.ledger.count("ran") == 1)
        with stage.worker("-P", "solo", log="second.log", LEASE="1") as second:
            lease = stage.folder / "broker.db"
            deadlines: set[float] = set()

            def renewed_for_long() -> bool:
                with closing(sqlite3.connect(lease)) as file:
                    query = "SELECT max(deadline) FROM owners JOIN messages USING (owner)"
                    deadlines.update(row[0] for row in file.execute(query) if row[0])
                return bool(deadlines) and max(deadlines) - min(deadlines) > 2

            wait_until(renewed_for_long, what="a lease twice as long as it lasts by itself")
            assert stage.ledger.count("ran") == 1
            first.kill_group()
            wait_until(lambda: stage.ledger.count("ran") == 2, what="the second run")
            assert stage.ledger.pid("kept") == second.pid
            until.touch()
            assert result.get(timeout=20) is True
            wait_until(lambda: stage.stats() == QueueStats(), what="the acknowledgement")
