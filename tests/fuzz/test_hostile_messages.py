"""Whatever a message says, the executor has an outcome for it, and no process dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.core.errors import MalformedMessage
from celeriac.core.executor import Bury, Delay, Done, Release
from celeriac.core.lease import DeadLetter, Lease
from celeriac.core.message import Message
from celeriac.engine.journal import Journal
from celeriac.engine.run import Runner
from tests.fuzz.hostile import awkward_envelopes, hostile_messages
from tests.servers import wait_until
from tests.stage import Stage
from tests.unit.bridge.bench import Bench

SEEDS = range(4)
EACH = 150


def lease_of(payload: bytes, deliveries: int = 1) -> Lease:
    return Lease("1", "me", Message(queue="celery", payload=payload), deliveries)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Celery's own, for callbacks it cannot call
@pytest.mark.parametrize("task", ["add", "quiet", "retry", "whoami"])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_executor_has_an_outcome_for_every_message(tmp_path: Path, task: str, seed: int) -> None:
    bench = Bench(tmp_path)
    journal = Journal(EACH)
    runner = Runner(bench.executor, journal)
    good = bench.lease(task, 1).message.payload
    for payload in hostile_messages(good, seed, EACH):
        finished = runner.run(lease_of(payload))
        assert isinstance(finished.outcome, Done | Release | Delay | Bury), payload
        bench.executor.flush()
        letter = DeadLetter(id="1", message=finished.lease.message, reason="died", died_at=0.0, deliveries=1)
        bench.executor.bury(letter)
    journal.close()


@pytest.mark.parametrize("wrong", awkward_envelopes(b'{"headers": {}, "body": "bnVsbA=="}'))
def test_what_is_certainly_malformed_is_said_to_be_so(tmp_path: Path, wrong: str) -> None:
    bench = Bench(tmp_path)
    good = bench.lease("add", 1, 2).message.payload
    with pytest.raises(MalformedMessage):
        bench.executor.decode(
            lease_of(awkward_envelopes(good.replace(b'"retries":0', b'"retries": 0'))[wrong])
        )


@pytest.mark.timeout(400)
def test_two_thousand_hostile_messages_kill_no_process_and_hold_up_no_good_one(stage: Stage) -> None:
    broker = stage.broker()
    stage.send("add", 1, 2)
    [lease] = broker.claim(["celery"], 1, owner="test", lease_for=60).leases
    good = lease.message.payload
    broker.ack([lease])
    # No bytes at all are no message: on Redis an empty entry of a batch is one that was settled.
    awkward = [payload for payload in awkward_envelopes(good).values() if payload]
    hostile = [*awkward, *hostile_messages(good, 20261123, 2000 - len(awkward))]
    with stage.worker("-c", "2", "-E", "-l", "error", LEASE="5", ready=False) as worker:
        wait_until(lambda: len(worker.shards()) == 2)
        stage.send("early", "first")
        wait_until(lambda: stage.ledger.count("done") == 1)
        pids = [worker.pid, *worker.shards()]
        for number in range(0, len(hostile), 10):
            broker.send(
                [Message(queue="celery", payload=payload) for payload in hostile[number : number + 10]]
            )
            stage.send("early", f"good {number}")

        def ended() -> bool:
            stats = broker.stats(["celery"])["celery"]
            return stats.ready == stats.leased == 0

        wait_until(ended, timeout=200)
        assert [worker.pid, *worker.shards()] == pids
        assert stage.ledger.count("done") == 201
        assert worker.stop() == 0
    letters = broker.dead_letters(limit=5000)
    buried = [letter.message.payload for letter in letters]
    assert set(buried) <= set(hostile)
    assert set(awkward) <= set(buried)
    assert not [letter.reason for letter in letters if "worker died" in letter.reason]
    assert len(buried) > 500
