"""SqliteBroker keeps the contract, and what only it promises: one file, many processes."""

from __future__ import annotations

import ctypes
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.brokers import sqlite_file
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.broker import QueueStats
from celeriac.core.errors import BrokerError, BrokerUnavailable, ConfigurationError
from celeriac.core.message import Message
from celeriac.testing import BrokerContract, CrashContract

#: Seconds a call may take at most that should return soon.
SOON = 10.0


class TestSqlite(BrokerContract):
    @pytest.fixture
    def broker(self, tmp_path: Path) -> Iterator[SqliteBroker]:
        self.path = tmp_path / "queue.db"
        broker = SqliteBroker(self.path)
        yield broker
        broker.close()

    def reopen(self) -> SqliteBroker:
        return SqliteBroker(self.path)

    def unreachable(self) -> SqliteBroker:
        return SqliteBroker(self.path.parent / "no such folder" / "queue.db")


class TestSqliteCrashes(CrashContract):
    factory = "celeriac.brokers.sqlite:SqliteBroker"

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "queue.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    with closing(SqliteBroker(path)) as broker:
        yield broker


def message(queue: str = "q", *, due: float | None = None) -> Message:
    return Message(queue=queue, payload=b"{}", due=due)


def ready(broker: SqliteBroker) -> int:
    return broker.stats(["q"])["q"].ready


def in_a_fork(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Run the work in a forked process; return the process's id."""
    if child := fork():
        return child
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# -- Processes


def test_a_file_may_be_created_by_many_at_once(tmp_path: Path) -> None:
    for turn in range(5):
        broker = SqliteBroker(tmp_path / f"{turn}.db")
        start, go = os.pipe()

        def work(broker: SqliteBroker = broker, start: int = start) -> None:
            os.read(start, 1)
            broker.send([message()])

        children = [in_a_fork(work) for _ in range(4)]
        os.write(go, b"1234")
        assert [exit_code(child) for child in children] == [0, 0, 0, 0]
        assert ready(broker) == 4
        broker.close()


def test_an_instance_may_be_used_on_both_sides_of_a_fork(broker: SqliteBroker, path: Path) -> None:
    """Else the child would write to a log that is deleted when the parent and then others close the file."""
    broker.send([message()])
    sent, tell_sent = os.pipe()
    closed, tell_closed = os.pipe()

    def work() -> None:
        broker.send([message()])
        os.write(tell_sent, b"1")
        os.read(closed, 1)
        broker.send([message(), message()])

    child = in_a_fork(work)
    os.close(tell_sent)
    assert os.read(sent, 1) == b"1"
    assert ready(broker) == 2
    broker.close()
    with closing(SqliteBroker(path)) as other:
        assert ready(other) == 2
    os.write(tell_closed, b"1")
    assert exit_code(child) == 0
    assert ready(broker) == 4


def test_a_thread_may_wait_while_another_forks(broker: SqliteBroker) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(broker.wait, ["q"], 2 * SOON)
        for _ in range(5):
            assert exit_code(in_a_fork(lambda: broker.stats(["q"]))) == 0
        assert not waiting.done()
        assert exit_code(in_a_fork(lambda: broker.send([message()]))) == 0
        waiting.result(SOON)


def test_a_fork_that_python_did_not_see_is_refused(broker: SqliteBroker) -> None:
    broker.send([message()])

    def work() -> None:
        with pytest.raises(BrokerError, match=r"queue\.db was open when this process was forked"):
            broker.send([message()])
        broker.close()

    child = in_a_fork(work, ctypes.PyDLL(None).fork)
    assert exit_code(child) == 0
    assert ready(broker) == 1


# -- The file


def test_a_closed_broker_opens_its_file_again(broker: SqliteBroker) -> None:
    broker.send([message()])
    broker.close()
    assert ready(broker) == 1


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SqliteBroker("queue.db")) as broker:
        monkeypatch.chdir("/")
        broker.send([message()])
    assert (tmp_path / "queue.db").exists()


def test_a_queue_need_not_be_a_table_name(broker: SqliteBroker) -> None:
    names = ["messages", "'; DROP TABLE messages; --", ""]
    broker.send([message(name) for name in names])
    assert broker.stats(names) == {name: QueueStats(ready=1) for name in names}


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("no database" * 1000)
    with pytest.raises(BrokerError, match=r"queue\.db: file is not a database") as raised:
        SqliteBroker(path).send([message()])
    assert not isinstance(raised.value, BrokerUnavailable)


def test_a_file_of_a_later_version_is_refused(broker: SqliteBroker, path: Path) -> None:
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BrokerError, match=r"queue\.db has layout 99.*upgrade celeriac"):
        broker.send([message()])


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "none" / "queue.db")
    with pytest.raises(
        BrokerUnavailable, match=r"none/queue\.db: unable to open .*see that its folder exists"
    ):
        broker.send([message()])


def test_a_file_locked_for_too_long_is_named(
    broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send([message()])
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match=r"queue\.db: database is locked; find the process"):
            broker.send([message()])
        assert ready(broker) == 1
    broker.send([message()])
    assert ready(broker) == 2


def test_a_call_that_fails_half_way_changes_nothing(broker: SqliteBroker) -> None:
    with pytest.raises(BrokerError, match="NOT NULL"):
        broker.send([message(), Message(queue=None, payload=b"")])  # type: ignore[arg-type]
    assert ready(broker) == 0
    broker.send([message()])
    assert ready(broker) == 1


def test_memory_and_unknown_pragmas_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="use MemoryBroker"):
        SqliteBroker(":memory:")
    with pytest.raises(ConfigurationError, match="use NORMAL or FULL"):
        SqliteBroker("queue.db", synchronous="MAYBE; DROP TABLE messages")


@pytest.mark.parametrize(
    "statement",
    [
        *("next_ready", "lease", "ack", "release", "delay", "bury", "due_ids", "next_due"),
        *("leases_of", "any_ready", "data_version"),
    ],
)
def test_no_hot_statement_reads_all_messages(broker: SqliteBroker, path: Path, statement: str) -> None:
    broker.send([message()])
    sql = sqlite_file.SQL[statement]
    with closing(sqlite3.connect(path)) as db:
        values = ["1"] * (len(set(re.findall(r"\?\d", sql))) or sql.count("?"))
        plan = db.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        steps = [step for *_, step in plan]
    assert not [step for step in steps if step.startswith(("SCAN messages", "SCAN m "))]
    if statement == "next_ready":
        assert any("USING COVERING INDEX ready (state=? AND queue=?)" in step for step in steps)


# -- Time


def test_wait_returns_when_a_message_is_due_and_a_claim_brings_it(broker: SqliteBroker) -> None:
    broker.send([message(due=time.time() + 0.05)])
    with ThreadPoolExecutor(1) as threads:
        threads.submit(broker.wait, ["q"], 2 * SOON).result(SOON)
    assert len(broker.claim(["q"], 9, owner="me", lease_for=9).leases) == 1


@pytest.mark.parametrize("platform", ["linux", "another"])
def test_wait_sees_what_the_same_instance_writes(
    broker: SqliteBroker, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with ThreadPoolExecutor(1) as threads:
        for _ in range(5):
            waiting = threads.submit(broker.wait, ["q"], 2 * SOON)
            broker.send([message()])
            waiting.result(SOON)
            broker.purge(["q"])


def test_wait_needs_no_help_of_the_system(
    broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "another")
    with closing(SqliteBroker(path)) as sender, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(broker.wait, ["q"], 2 * SOON)
        sender.send([message()])
        waiting.result(SOON)


def test_a_claim_prolongs_the_life_of_an_expiring_queue(broker: SqliteBroker) -> None:
    broker.bind("events", "", "", "q")
    broker.expire_queue("q", 100)
    at_first = time.time() + 100
    while time.time() < at_first - 100 + 0.01:
        pass
    broker.claim(["q"], 0, owner="me", lease_for=9)
    broker.promote_due(at_first + 0.005)
    assert list(broker.bindings("events")) == [("", "", "q")]
    broker.promote_due(at_first + 50)
    assert list(broker.bindings("events")) == []
