"""Whatever remote control and monitors are sent, no process dies and the next command is answered."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from celery.worker.control import Panel
from kombu import Exchange, Producer

from tests.fuzz.hostile import JUNK, broken_bytes
from tests.servers import wait_until
from tests.stage import APP, Stage

NODE = "one@test"
COMMANDS = 600
#: What does as it is told: these end or resize a worker by right, or tell of its whole memory.
SPARED = {
    "shutdown",
    "pool_grow",
    "pool_shrink",
    "pool_restart",
    "autoscale",
    "memdump",
    "memsample",
    "objgraph",
}
ARGUMENTS = (
    *(
        "task_id",
        "task_name",
        "ids",
        "queue",
        "exchange",
        "exchange_type",
        "routing_key",
        "signal",
        "terminate",
    ),
    *("hard", "soft", "rate_limit", "headers", "from_node", "revoked", "with_defaults", "safe", "state", "x"),
)
#: JSON has no NaN or infinity for kombu's reader, and halves of characters go no further than a socket.
SENDABLE = [junk for junk in JUNK if "\ud800" not in repr(junk) and "\\ud800" not in repr(junk)]


def hostile_commands(seed: int, count: int) -> list[Any]:
    """Bodies of control messages: wrong methods, wrong arguments, answers to nowhere."""
    random = Random(seed)
    methods = sorted(Panel.data.keys() - SPARED)
    bodies: list[Any] = []
    for _ in range(count):
        method: Any = random.choice(methods) if random.random() < 0.85 else random.choice(SENDABLE)
        names = random.sample(ARGUMENTS, random.randint(0, 4))
        if random.random() < 0.6:
            names += ["task_name", "task_id", "hard", "soft", "rate_limit", "queue", "from_node", "revoked"]
        arguments: Any = {name: random.choice(SENDABLE) for name in names}
        if random.random() < 0.6 and "task_name" in arguments:
            arguments["task_name"] = f"{APP}.add"
        body: Any = {
            "method": method,
            "arguments": arguments if random.random() < 0.9 else random.choice(SENDABLE),
            "destination": random.choice((None, None, [NODE], [], "x")),
            "pattern": random.choice((None, None, "*", 5)),
            "matcher": random.choice((None, "glob", "pcre", "x", {})),
        }
        if random.random() < 0.3:
            body["reply_to"] = random.choice(SENDABLE)
        if random.random() < 0.1:
            body["ticket"] = random.choice(SENDABLE)
        bodies.append(body if random.random() < 0.93 else random.choice(SENDABLE))
    return bodies


def exact_commands() -> list[Any]:
    """Commands whose arguments have a wrong type in just one place."""
    return [
        {"method": method, "arguments": arguments, "destination": [NODE]}
        for method, arguments in (
            ("time_limit", {"task_name": f"{APP}.add", "soft": "soon", "hard": None}),
            ("time_limit", {"task_name": f"{APP}.add", "soft": -1, "hard": {}}),
            ("time_limit", {"task_name": f"{APP}.early", "soft": 10**400}),
            ("rate_limit", {"task_name": f"{APP}.add", "rate_limit": [1]}),
            ("hello", {"from_node": "two@test", "revoked": [5, None, {"x": 1}]}),
            ("hello", {"from_node": "two@test", "revoked": "abc"}),
            ("revoke", {"task_id": [5, None, {}]}),
            ("revoke", {"task_id": "x", "terminate": True, "signal": "SIGNONE"}),
            ("revoke_by_stamped_headers", {"headers": {"a": [1, {}]}}),
            ("revoke_by_stamped_headers", {"headers": ["a", "=", "b=c=d"]}),
            ("add_consumer", {"queue": 5}),
            ("add_consumer", {"queue": {}}),
            ("cancel_consumer", {"queue": 5}),
            ("query_task", {"ids": {"x": 1}}),
            ("election", {"id": 1}),
        )
    ]


class Sender:
    """Publishes control messages as any client on the same broker may."""

    def __init__(self, stage: Stage) -> None:
        self._connection = stage.app.connection_for_write()
        exchange = stage.app.control.mailbox.exchange
        self._producer = Producer(self._connection.channel(), Exchange(exchange.name, type=exchange.type))

    def send(self, body: Any, **options: Any) -> None:
        self._producer.publish(body, serializer="json", **options)

    def send_bytes(self, data: bytes, content_type: str = "application/json") -> None:
        self._producer.publish(data, content_type=content_type, content_encoding="utf-8")


@pytest.mark.timeout(300)
def test_hostile_commands_kill_no_process_and_the_next_is_answered(stage: Stage) -> None:
    random = Random(20261123)
    with stage.worker("-c", "2", "-E", "-n", NODE, LEASE="5") as worker:
        wait_until(lambda: len(worker.shards()) == 2)
        assert stage.send("add", 1, 2).get(timeout=10) == 3
        pids = [worker.pid, *worker.shards()]
        sender = Sender(stage)
        for body in [*exact_commands(), *hostile_commands(20261123, COMMANDS)]:
            sender.send(body, headers=random.choice(({}, {}, {"clock": "x"}, {"clock": 3})))
        proper = json.dumps({"method": "ping", "arguments": {}, "destination": [NODE]}).encode()
        for _ in range(200):
            sender.send_bytes(broken_bytes(proper, random), random.choice(("application/json", "text/x", "")))
        wait_until(lambda: _answers(stage), timeout=60, what="an answer to ping")
        # A shard reads what it was told after a claim: it must survive that, too.
        stage.app.control.add_consumer("celery", destination=[NODE], reply=True)
        results = [stage.send("early", f"after {number}") for number in range(20)]
        wait_until(lambda: stage.ledger.count("done") == len(results))
        assert [worker.pid, *worker.shards()] == pids
        assert worker.stop() == 0


def _answers(stage: Stage) -> bool:
    return stage.app.control.ping(destination=[NODE], timeout=1) == [{NODE: {"ok": "pong"}}]


@pytest.mark.timeout(120)
def test_hostile_events_and_answers_leave_a_worker_alone(stage: Stage) -> None:
    random = Random(7)
    with stage.worker("-c", "1", "-E", "-n", NODE, LEASE="5") as worker:
        pids = [worker.pid, *worker.shards()]
        with stage.app.connection_for_write() as connection:
            channel = connection.channel()
            for name in ("celeryev", "reply.celery.pidbox", "celery.pidbox"):
                exchange = Exchange(name, type="topic" if name == "celeryev" else "direct")
                producer = Producer(channel, exchange, auto_declare=False)
                for _ in range(100):
                    producer.publish(random.choice(SENDABLE), routing_key="worker.x", serializer="json")
        wait_until(lambda: _answers(stage), timeout=60, what="an answer to ping")
        assert stage.send("add", 2, 2).get(timeout=10) == 4
        assert [worker.pid, *worker.shards()] == pids
        assert worker.stop() == 0
