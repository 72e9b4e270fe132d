"""``async def`` tasks are what plain ones are, in every pool of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import TimeLimitExceeded

from tests.servers import wait_until
from tests.stage import Stage
from tests.workers import WorkerProcess

NATIVE = "tests.apps.native"
POOLS = {
    "prefork": ["-c", "2"],
    "solo": ["-P", "solo"],
    "asyncio": ["-P", "asyncio", "-c", "10"],
    "threads": ["-P", "threads", "-c", "3"],
}


def sig(stage: Stage, task: str, *args: object, **options: object) -> Any:
    return stage.app.signature(f"{NATIVE}.{task}", args=args, **options)


@pytest.fixture(params=POOLS.values(), ids=POOLS.keys())
def worker(request: pytest.FixtureRequest, stage: Stage) -> Iterator[WorkerProcess]:
    """A worker of each pool on each broker."""
    with stage.worker(*request.param, "-I", NATIVE, SIGNALS="1") as running:
        yield running
        assert running.stop() == 0
        stats = stage.broker().stats(["celery"])["celery"]
        assert (stats.ready, stats.leased, stats.delayed) == (0, 0, 0)


@pytest.mark.shows("beyond", "async def tasks")
@pytest.mark.shows("task option", "max_retries", "autoretry_for", "retry_kwargs")
@pytest.mark.shows("canvas", "chain", "group", "chord", "replace")
def test_canvas_retries_and_results(stage: Stage, worker: WorkerProcess) -> None:
    assert sig(stage, "add", 1, 2).delay().get(timeout=10) == 3
    assert sig(stage, "flaky", "f", 2).delay().get(timeout=10) == 2
    assert sig(stage, "stubborn", 2).delay().get(timeout=10) == 2
    assert chain(sig(stage, "add", 1, 2), sig(stage, "add", 3))().get(timeout=10) == 6
    sums = group(sig(stage, "add", n, n) for n in range(6))
    assert sums().get(timeout=10) == [0, 2, 4, 6, 8, 10]
    assert chord(sums, sig(stage, "total"))().get(timeout=20) == 30
    assert sig(stage, "replaced", 4, 5).delay().get(timeout=10) == 9
    with pytest.raises(ValueError, match="boom"):
        sig(stage, "fail", "boom").delay().get(timeout=10)
    with pytest.raises(OSError, match="not yet"):
        sig(stage, "stubborn", 9).delay().get(timeout=10)
    with pytest.raises(RuntimeError, match="was cancelled"):
        sig(stage, "cancels_itself").delay().get(timeout=10)
    for line in ("succeeded in", "retry: Retry in", "raised unexpected: ValueError('boom')"):
        assert line in worker.text


@pytest.mark.shows("signal", "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")
@pytest.mark.shows("canvas", "link", "link_error")
def test_links_and_signals(stage: Stage, worker: WorkerProcess) -> None:
    sig(stage, "add", 2, 2).apply_async(link=sig(stage, "remember", "link"))
    wait_until(lambda: stage.ledger.count("linked 4", "link") == 1)
    handlers = [sig(stage, "remember_error"), sig(stage, "handle_error", "link")]
    failed = sig(stage, "fail", "boom").apply_async(link_error=handlers)
    wait_until(lambda: stage.ledger.count(f"failed {failed.id}", "link") == 1)
    wait_until(lambda: stage.ledger.count("handled boom", "link") == 1)
    sig(stage, "flaky", "f", 1).delay().get(timeout=10)
    expected = {
        "add": ["prerun True", "success True", "postrun True"],
        "fail": ["prerun True", "failure True", "postrun True"],
        "flaky": [
            *("prerun True", "retry True", "postrun True"),
            *("prerun True", "success True", "postrun True"),
        ],
    }
    wait_until(lambda: len(stage.ledger.entries("flaky")) == len(expected["flaky"]))
    assert {name: stage.ledger.entries(name) for name in ("add", "fail")} == {
        name: expected[name] for name in ("add", "fail")
    }
    # Its second run may begin in another shard before the first one's last signal is sent.
    assert sorted(stage.ledger.entries("flaky")) == sorted(expected["flaky"])


def test_reject_and_ignore(stage: Stage, worker: WorkerProcess) -> None:
    sig(stage, "ignore", "ignored").delay()
    sig(stage, "reject", "rejected").delay()
    wait_until(lambda: stage.broker().dead_letters())
    [letter] = stage.broker().dead_letters()
    assert letter.reason == "rejected by its task: no good"


@pytest.mark.shows("task option", "base", "track_started")
def test_hooks_of_a_task_class(stage: Stage, worker: WorkerProcess) -> None:
    result = sig(stage, "hooked", "key").delay()
    assert result.get(timeout=10) == "key"
    hooks = ["before_start", "called", "body", "on_success True", "after_return SUCCESS"]
    wait_until(lambda: len(stage.ledger.entries("key")) == len(hooks))
    assert stage.ledger.entries("key") == hooks


def test_a_task_knows_its_request_and_leaves_nothing_to_the_next(stage: Stage, worker: WorkerProcess) -> None:
    result = sig(stage, "identity", "me", 1).delay()
    found = result.get(timeout=10)
    assert found[:8] == [result.id, result.id, *[result.id, result.id, "me"] * 2]
    assert [sig(stage, "inherited").delay().get(timeout=10) for _ in range(4)] == ["nobody"] * 4


def test_a_loop_is_kept(stage: Stage, worker: WorkerProcess) -> None:
    found = [tuple(sig(stage, "loop_of").delay().get(timeout=10)) for _ in range(8)]
    assert len(set(found)) == len({thread for thread, _ in found})


@pytest.mark.shows("task option", "soft_time_limit")
def test_the_soft_time_limit_is_thrown_into_the_coroutine(stage: Stage, worker: WorkerProcess) -> None:
    assert sig(stage, "slow_soft", "soft").delay().get(timeout=10) == "interrupted"
    assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2


@pytest.mark.shows("task option", "time_limit")
def test_the_hard_time_limit_ends_a_coroutine(stage: Stage, worker: WorkerProcess) -> None:
    with pytest.raises(TimeLimitExceeded):
        sig(stage, "slow_hard", "hard").delay().get(timeout=10)
    assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
    assert stage.ledger.count("started", "hard") == 1


@pytest.mark.shows("task option", "eta", "countdown", "expires")
def test_a_coroutine_may_wait_or_expire(stage: Stage, worker: WorkerProcess) -> None:
    late = sig(stage, "early", "late").apply_async(countdown=0.5)
    expired = sig(stage, "early", "expired").apply_async(expires=-1)
    wait_until(lambda: expired.state == "REVOKED")
    assert late.get(timeout=10) == "late"
    assert stage.ledger.keys("started") == {"late"}


@pytest.mark.shows("control command", "revoke")
def test_a_coroutine_is_terminated_with_its_process(stage: Stage) -> None:
    with stage.worker("-c", "1", "-n", "one@test", "-I", NATIVE) as worker:
        inspect = stage.app.control.inspect(timeout=5, destination=["one@test"])
        bad = sig(stage, "early", "bad", 60).delay()
        wait_until(lambda: [request["id"] for request in inspect.active()["one@test"]] == [bad.id])
        stage.app.control.revoke(bad.id, terminate=True)
        wait_until(lambda: bad.state == "REVOKED")
        assert sig(stage, "add", 1, 1).delay().get(timeout=10) == 2
        assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["own", "threads"])
@pytest.mark.shows("beyond", "async def tasks")
def test_celerys_own_worker_awaits_them_too(stage: Stage, pool: str) -> None:
    options = {
        "own": (["-P", "custom"], {"CELERY_CUSTOM_WORKER_POOL": "tests.apps.own_pool:OwnPool"}),
        "threads": (
            ["-P", "threads", "-c", "3"],
            {"CONF": '{"worker_consumer": "tests.apps.own_pool:OwnConsumer"}'},
        ),
    }
    arguments, environment = options[pool]
    with stage.worker(*arguments, "-I", NATIVE, **environment) as worker:
        assert "Celery's stock worker runs here" in worker.text
        assert sig(stage, "flaky", "f", 2).delay().get(timeout=10) == 2
        sums = group(sig(stage, "add", n, n) for n in range(6))
        assert chord(sums, sig(stage, "total"))().get(timeout=20) == 30
        assert sig(stage, "hooked", "key").delay().get(timeout=10) == "key"
        result = sig(stage, "identity", "me", 1).delay()
        assert result.get(timeout=10)[:2] == [result.id, result.id]
        with pytest.raises(ValueError, match="boom"):
            sig(stage, "fail", "boom").delay().get(timeout=10)
        worker.stop()
