"""A pod that ends finishes what it runs, gives back what has not started, loses and repeats nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drain.campaign import fleet, run
from tests.drain.kubelet import Kind, wait_ready
from tests.servers import RedisServer, redis_server, wait_until

EACH: list[Kind] = ["as rendered", "no preStop", "as rendered", "killed", "short grace", "as rendered"]


@pytest.mark.shows("beyond", "a pod that ends loses and repeats nothing")
def test_pods_that_end_under_load_lose_and_repeat_nothing(tmp_path: Path, redis: RedisServer) -> None:
    with fleet(tmp_path, redis, seed=1, longest=8.0) as running:
        outcome = run(running, EACH, pods=3, told=lambda _: None)
    assert outcome.terminations == len(EACH)
    asked = outcome.kinds["as rendered"]
    assert (asked.ends, asked.drained, asked.killed, asked.exitcodes) == (3, 3, 0, {0: 3})
    assert outcome.kinds["killed"].killed == 1
    verdict = outcome.verdict
    assert verdict.done + len(verdict.buried) == verdict.accepted > 40
    assert (verdict.lost, verdict.repeated) == ((), ())


def test_a_deleted_pod_cuts_nothing_short(tmp_path: Path, redis: RedisServer) -> None:
    with fleet(tmp_path, redis, seed=2, longest=4.0) as running:
        verdict = run(running, ["as rendered"] * 2, pods=2, told=lambda _: None).verdict
    assert verdict.done == verdict.accepted
    assert (verdict.run_again, verdict.buried) == ((), ())


@pytest.mark.shows("setting", "worker_soft_shutdown_timeout")
def test_what_outlasts_the_drain_is_cut_short_and_not_killed(tmp_path: Path, redis: RedisServer) -> None:
    with fleet(tmp_path, redis, longest=1.0) as running:
        pod = running.start()
        wait_ready([pod])
        for kind in ("late", "early"):
            # Nobody keeps it to its limit here: the manifest was told less than it takes.
            running.load.send(kind, seconds=60, time_limit=90)
        wait_until(lambda: running.ledger.count("started") == 2)
        end = running.end(pod)
        assert end.drained is False
        assert not end.killed
        broker_sees = running.counts()
        assert running.dead() == {"early-1"}
    # With late acks it is there to be run again; without, it is kept among the dead letters.
    assert broker_sees == (1, 0, 1)


def test_a_pod_whose_broker_is_away_loses_nothing(tmp_path: Path) -> None:
    with redis_server() as broker, fleet(tmp_path, broker, longest=1.0) as running:
        pod = running.start()
        wait_ready([pod])
        running.load.publish(20, longest=0.5)
        wait_until(lambda: running.ledger.count("done") > 2)
        broker.stop()
        end = running.end(pod, grace=8)
        assert end.drained is True, "nobody can be asked, so the kubelet goes on at once"
        broker.start()
        wait_ready([running.start()])
        verdict = running.settle([end])
    # What it held when it was killed at last is run again: a pod killed is a node killed.
    assert verdict.lost == ()
