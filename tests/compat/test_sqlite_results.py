"""Celery results in an SQLite file: values, expiry, waiting, holding back, chords."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import TimeoutError as ResultTimeout

from celeriac.bridge.results import SWEEP_EVERY, SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import BrokerUnavailable, ConfigurationError
from tests.servers import wait_until

MakeApp = Callable[..., Celery]


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    """Makes Celery apps with one and the same result file."""

    def make(**settings: Any) -> Celery:
        app = Celery("results", backend=f"sqlite:///{tmp_path}/results.db", set_as_current=False)
        app.conf.update(
            broker_url=f"sqlite:///{tmp_path}/broker.db",
            broker_transport="celeriac.bridge.transport:SqliteTransport",
            **settings,
        )
        return app

    return make


#: How an error is stored.
NO = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}


def outcome(state: str) -> Any:
    """Return what a task may come to in that state."""
    return 1 if state in ("STARTED", "SUCCESS") else ValueError("no")


def rows(folder: Path) -> int:
    """Return how many rows the file holds, expired or not."""
    with closing(sqlite3.connect(folder / "results.db")) as file:
        return int(file.execute("SELECT count(*) FROM celery_results").fetchone()[0])


# -- Values


def test_a_url_is_all_it_takes(make_app: MakeApp, tmp_path: Path) -> None:
    backend = make_app().backend
    assert type(backend) is SqliteBackend
    assert backend.as_uri() == f"sqlite:///{tmp_path}/results.db"


def test_results_are_read_by_others(make_app: MakeApp) -> None:
    make_app().backend.store_result("a", {"n": [1, 2]}, "SUCCESS")
    result = make_app().AsyncResult("a")
    assert result.get(timeout=1) == {"n": [1, 2]}
    result.forget()
    assert make_app().AsyncResult("a").state == "PENDING"


def test_errors_are_raised_again(make_app: MakeApp) -> None:
    make_app().backend.mark_as_failure("a", ValueError("no good"))
    with pytest.raises(ValueError, match="no good"):
        make_app().AsyncResult("a").get(timeout=1)


def test_a_success_is_not_overwritten(make_app: MakeApp) -> None:
    backend = make_app().backend
    backend.store_result("a", 1, "SUCCESS")
    backend.store_result("a", None, "STARTED")
    assert make_app().AsyncResult("a").get(timeout=1) == 1


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize(
    ("stored", "late", "kept"),
    [
        ("SUCCESS", "RETRY", "SUCCESS"),
        ("SUCCESS", "FAILURE", "SUCCESS"),
        ("FAILURE", "RETRY", "FAILURE"),
        ("REVOKED", "RETRY", "REVOKED"),
        ("FAILURE", "STARTED", "STARTED"),
        ("STARTED", "RETRY", "RETRY"),
    ],
)
def test_a_run_that_stores_late_is_not_believed(
    make_app: MakeApp, stored: str, late: str, kept: str, *, is_held: bool
) -> None:
    quicker, later = make_app().backend, make_app().backend
    if is_held:
        later.hold()
        later.store_result("a", outcome(late), late)
        quicker.store_result("a", outcome(stored), stored)
        later.flush()
    else:
        quicker.store_result("a", outcome(stored), stored)
        # As if it had looked at what is stored just before.
        later._get_task_meta_for = lambda _: {"status": "PENDING"}
        later.store_result("a", outcome(late), late)
    assert make_app().AsyncResult("a").state == kept


@pytest.mark.parametrize("held", ["SUCCESS", "FAILURE"])
def test_a_retry_is_not_held_over_an_end(make_app: MakeApp, held: str) -> None:
    backend = make_app().backend
    backend.hold()
    key = backend.get_key_for_task("a")
    for state in (held, "RETRY"):
        backend._set_with_state(key, backend.encode({"status": state, "result": NO}), state)
    backend.flush()
    assert make_app().AsyncResult("a").state == held


def test_a_success_that_has_expired_or_that_nobody_can_read_is_overwritten(
    make_app: MakeApp, tmp_path: Path
) -> None:
    backend = make_app().backend
    for task_id in ("old", "rubbish"):
        backend.store_result(task_id, 1, "SUCCESS")
    with closing(sqlite3.connect(tmp_path / "results.db")) as file, file:
        file.execute("UPDATE celery_results SET expires = 1 WHERE key LIKE '%old'")
        file.execute("UPDATE celery_results SET value = x'00ff' WHERE key LIKE '%rubbish'")
    for task_id in ("old", "rubbish"):
        key = backend.get_key_for_task(task_id)
        backend._set_with_state(key, backend.encode({"status": "RETRY", "result": NO}), "RETRY")
        assert make_app().AsyncResult(task_id).state == "RETRY"


def test_compressed_and_pickled_results(make_app: MakeApp) -> None:
    settings = {
        "result_compression": "gzip",
        "result_serializer": "pickle",
        "result_accept_content": ["pickle"],
    }
    make_app(**settings).backend.store_result("a", {1, 2}, "SUCCESS")
    assert make_app(**settings).AsyncResult("a").get(timeout=1) == {1, 2}


def test_many_keys_at_once(make_app: MakeApp) -> None:
    backend = make_app().backend
    for number in range(3):
        backend.set(f"key-{number}", str(number))
    assert backend.mget(["key-2", "none", "key-0"]) == ["2", None, "0"]
    assert backend.mget([]) == []


def test_threads_share_one_backend(make_app: MakeApp) -> None:
    backend = make_app().backend
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda _: backend.incr("counter"), range(200)))
    assert sorted(counts) == list(range(1, 201))


def test_a_forked_child_and_its_parent_both_go_on_storing(make_app: MakeApp) -> None:
    app = make_app()
    app.backend.store_result("before", 1, "SUCCESS")
    pid = os.fork()
    if pid == 0:
        app.backend.store_result("child", 2, "SUCCESS")
        os._exit(0)
    app.backend.store_result("parent", 3, "SUCCESS")
    assert os.waitpid(pid, 0)[1] == 0
    assert [make_app().AsyncResult(each).get(timeout=1) for each in ("before", "child", "parent")] == [
        1,
        2,
        3,
    ]


def test_a_backend_can_be_pickled(make_app: MakeApp) -> None:
    app = make_app()
    app.set_current()
    copy = pickle.loads(pickle.dumps(app.backend))
    copy.store_result("a", 1, "SUCCESS")
    assert app.AsyncResult("a").get(timeout=1) == 1


@pytest.mark.parametrize("first", ["results", "messages"])
def test_results_and_messages_may_share_a_file(tmp_path: Path, first: str) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    app = Celery("one", broker=url, backend=url, set_as_current=False)
    app.conf.broker_transport = "celeriac.bridge.transport:SqliteTransport"
    if first == "results":
        app.backend.store_result("a", 1, "SUCCESS")
    app.send_task("nobody's")
    app.backend.store_result("b", 2, "SUCCESS")
    with closing(SqliteBroker(tmp_path / "one.db")) as broker:
        assert broker.stats(["celery"])["celery"].ready == 1
    assert app.AsyncResult("b").get(timeout=1) == 2


# -- Expiry


def test_an_expired_result_is_absent_at_once_and_deleted_by_cleanup(
    make_app: MakeApp, tmp_path: Path
) -> None:
    backend = make_app(result_expires=0.1).backend
    backend.store_result("a", 1, "SUCCESS")
    assert backend.get(backend.get_key_for_task("a")) is not None
    wait_until(lambda: backend.get(backend.get_key_for_task("a")) is None, what="expiry")
    assert rows(tmp_path) == 1
    backend.cleanup()
    assert rows(tmp_path) == 0


def test_expired_results_do_not_pile_up(make_app: MakeApp, tmp_path: Path) -> None:
    backend = make_app(result_expires=0.001).backend
    for number in range(3 * SWEEP_EVERY):
        backend.set(f"key-{number}", "x")
    assert rows(tmp_path) < 2 * SWEEP_EVERY


def test_results_without_expiry_stay(make_app: MakeApp, tmp_path: Path) -> None:
    backend = make_app(result_expires=None).backend
    backend.store_result("a", 1, "SUCCESS")
    with closing(sqlite3.connect(tmp_path / "results.db")) as file:
        assert file.execute("SELECT expires FROM celery_results").fetchall() == [(None,)]


def test_failures_may_expire_sooner(make_app: MakeApp) -> None:
    backend = make_app(result_failure_expires=0.05).backend
    backend.mark_as_failure("bad", ValueError("x"))
    backend.store_result("good", 1, "SUCCESS")
    wait_until(lambda: backend.get(backend.get_key_for_task("bad")) is None, what="the failure's expiry")
    assert backend.get(backend.get_key_for_task("good")) is not None


# -- Waiting


def store_soon(app: Celery, results: dict[str, Any]) -> None:
    """Store results from another process, a moment from now."""
    if os.fork() == 0:
        time.sleep(0.1)
        for task_id, value in results.items():
            app.backend.store_result(task_id, value, "SUCCESS")
        os._exit(0)


def test_get_returns_once_another_process_stored_the_result(make_app: MakeApp) -> None:
    app = make_app()
    ticks: list[int] = []
    store_soon(app, {"a": 1})
    assert app.AsyncResult("a").get(timeout=20, on_interval=lambda *_: ticks.append(1)) == 1
    assert ticks
    os.wait()


def test_get_returns_once_another_thread_stored_the_result(make_app: MakeApp) -> None:
    app = make_app()
    threading.Timer(0.05, app.backend.store_result, ("a", 1, "SUCCESS")).start()
    assert app.AsyncResult("a").get(timeout=20) == 1


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_get_gives_up_in_the_end(make_app: MakeApp, timeout: float) -> None:
    app = make_app()
    with pytest.raises(ResultTimeout):
        app.AsyncResult("a").get(timeout=timeout)
    with pytest.raises(ResultTimeout):
        app.GroupResult("g", [app.AsyncResult("a")]).get(timeout=timeout)


def test_groups_are_joined_in_order(make_app: MakeApp) -> None:
    app = make_app()
    app.GroupResult("g", [app.AsyncResult(name) for name in "abc"]).save()
    app.backend.store_result("b", 2, "SUCCESS")
    store_soon(app, {"c": 3, "a": 1})
    restored = make_app().GroupResult.restore("g")
    seen: list[str] = []
    assert restored.join_native(timeout=20, on_message=lambda meta: seen.append(meta["task_id"])) == [1, 2, 3]
    assert sorted(seen) == ["a", "b", "c"]
    assert restored.join(timeout=20) == [1, 2, 3]
    os.wait()


# -- Holding back


def test_held_results_are_seen_here_and_stored_by_flush(make_app: MakeApp) -> None:
    backend, other = make_app().backend, make_app().backend
    backend.hold()
    backend.set("a", "1")
    backend.set("b", "2")
    assert backend.mget(["a", "b"]) == ["1", "2"]
    assert other.mget(["a", "b"]) == [None, None]
    backend.flush()
    assert other.mget(["a", "b"]) == ["1", "2"]
    other.set("a", "9")
    assert backend.get("a") == "9"
    backend.set("c", "3")
    assert other.get("c") is None


@pytest.mark.parametrize(
    "call",
    [lambda b: b.incr("n"), lambda b: b.delete("n"), lambda b: b.expire("n", 60)],
    ids=["incr", "delete", "expire"],
)
def test_all_but_set_stores_what_is_held_first(make_app: MakeApp, call: Callable[[Any], Any]) -> None:
    backend, other = make_app().backend, make_app().backend
    backend.hold()
    backend.set("a", "1")
    call(backend)
    assert other.get("a") == "1"


def test_what_a_flush_could_not_store_is_still_held(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.bridge.results.PATIENCE", 0.01)
    backend = make_app().backend
    backend.set("first", "0")
    backend.hold()
    backend.set("a", "1")
    with closing(sqlite3.connect(tmp_path / "results.db", isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked") as caught:
            backend.flush()
        file.execute("ROLLBACK")
    assert backend.exception_safe_to_retry(caught.value)
    backend.flush()
    assert make_app().backend.get("a") == "1"


# -- Chords


class Chord:
    """A chord with two parts whose body is sent, to nobody, when both have returned."""

    def __init__(self, make_app: MakeApp, folder: Path) -> None:
        self.app = make_app()
        self.folder = folder
        self.app.backend.apply_chord(("group", [self.app.AsyncResult(name) for name in "ab"]), None)

    def deliver(self, part: str) -> None:
        """Do what a worker does when the part has returned, in a process of its own as it were."""
        body = self.app.signature("body").set(task_id="body")
        request = Context(id=part, group="group", group_index=0, chord={**body, "chord_size": 2})
        self.app.backend.mark_as_done(part, 1, request=request)

    @property
    def sent(self) -> int:
        """How often the body was sent."""
        with closing(SqliteBroker(self.folder / "broker.db")) as broker:
            return broker.stats(["celery"])["celery"].ready


def test_the_body_of_a_chord_is_sent_once_all_parts_returned(make_app: MakeApp, tmp_path: Path) -> None:
    chord = Chord(make_app, tmp_path)
    chord.deliver("a")
    assert chord.sent == 0
    chord.deliver("b")
    assert chord.sent == 1
    assert make_app().GroupResult.restore("group") is None


def test_a_part_delivered_twice_counts_once(make_app: MakeApp, tmp_path: Path) -> None:
    chord = Chord(make_app, tmp_path)
    chord.deliver("a")
    chord.deliver("a")
    assert chord.sent == 0
    chord.deliver("b")
    chord.deliver("b")
    assert chord.sent == 1
    assert make_app().AsyncResult("body").state == "PENDING"  # and no error for the second one


def test_a_chord_started_again_sends_its_body_again(make_app: MakeApp, tmp_path: Path) -> None:
    for run in (1, 2):
        chord = Chord(make_app, tmp_path)
        chord.deliver("a")
        chord.deliver("b")
        assert chord.sent == run


# -- Users' mistakes


@pytest.mark.parametrize("url", ["sqlite", "sqlite://", "sqlite:///x.db?sync=FULL"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:"):
        Celery("wrong", backend=url, set_as_current=False).backend  # noqa: B018 - made when first asked for


def test_a_folder_that_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    app = Celery("wrong", backend=f"sqlite:///{tmp_path}/no/results.db", set_as_current=False)
    with pytest.raises(BrokerUnavailable, match=r"no/results\.db: .* see that its folder exists") as caught:
        app.AsyncResult("a").get(timeout=1)
    assert "\n" not in str(caught.value)
