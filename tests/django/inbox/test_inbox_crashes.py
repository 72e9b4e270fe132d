"""Workers that are killed around the transaction of an idempotent task, judged by a ledger outside of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from tests.chaos.tripwires import Tripwires
from tests.django.process import project_process, sqlite_database
from tests.servers import RedisServer, wait_until
from tests.workers import Ledger, worker

#: Before the entry is added; after the effect and before COMMIT; after COMMIT and before the ack.
STEPS = ("transaction before", "effect", "transaction after")
ORDERS, KILLS = 30, 6


class CrashSite:
    """A database, a broker, a ledger, and workers of the project that meet the faults laid for them."""

    def __init__(self, folder: Path, redis: RedisServer, database: dict[str, Any], stock: bool) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db")
        (folder / "wires").mkdir()
        self.wires = Tripwires(folder / "wires")
        prefix = f"{uuid.uuid4().hex[:8]}:"
        self.environment = {
            "DATABASE": json.dumps(database),
            "BROKER": redis.url,
            "RESULTS": f"sqlite:///{folder}/results.db",
            "KEY_PREFIX": prefix,
            "LEDGER": str(self.ledger.path),
            "TRIPWIRES": str(folder / "wires"),
            **({"STOCK": "1"} if stock else {}),
        }
        self.producer = Celery("producer", broker=redis.url, backend=self.environment["RESULTS"])
        self.producer.conf.broker_transport_options = {"global_keyprefix": prefix}

    def send(self, order: str, copies: int) -> Any:
        """Publish the same message so many times."""
        for _ in range(copies):
            sent = self.producer.send_task("tests.django.bank.tasks.charge", (order,), task_id=order)
        return sent

    @contextmanager
    def workers(self, *concurrencies: str) -> Iterator[None]:
        with ExitStack() as running:
            for number, concurrency in enumerate(concurrencies):
                options = ["-c", concurrency, "-n", f"{number}@crash"]
                log = self.folder / f"worker{number}.log"
                running.enter_context(
                    worker("tests.django.bank", *options, environment=self.environment, log=log)
                )
            yield

    def call(self, function: str, *args: Any) -> Any:
        """What a function of the project returns, in a process that meets no faults."""
        environment = {name: value for name, value in self.environment.items() if name != "TRIPWIRES"}
        with project_process("tests.django.bank.scenarios", environment, self.folder / "log") as process:
            return process.call(function, *args)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        return sqlite_database(tmp_path / "bank.db")
    return request.getfixturevalue("postgres").database()


@pytest.fixture(params=["engine", "stock"])
def site(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer, database: Any) -> CrashSite:
    """A site whose database has its tables."""
    site = CrashSite(tmp_path, redis, database, request.param == "stock")
    site.call("migrate")
    return site


@pytest.mark.shows("beyond", "idempotent tasks in Django")
@pytest.mark.shows("task option", "reject_on_worker_lost")
def test_effects_happen_once_wherever_a_process_is_killed(site: CrashSite) -> None:
    orders = [f"order-{number}" for number in range(ORDERS)]
    killed = []
    with site.workers("2"):
        for number, order in enumerate(orders):
            if number % (ORDERS // KILLS) == 0:
                step = STEPS[number // (ORDERS // KILLS) % len(STEPS)]
                site.wires.lay(step, "kill process")
                site.send(order, 1)
                wait_until(lambda: site.wires.taken() is not None, what=f"a process that reaches {step!r}")
                killed.append(step)
                site.wires.clear()
            else:
                site.send(order, 2 if number % 2 else 1)
        for order in orders:
            assert site.producer.AsyncResult(order).get(timeout=30) == {"order": order, "cents": 1}
        wait_until(lambda: site.ledger.keys("charged") == set(orders))
    assert sorted(killed) == sorted(STEPS * 2)
    # What died after its effect had it again, but for what had been committed.
    assert site.ledger.count("charged") > ORDERS
    assert site.call("charges_by_order") == dict.fromkeys(orders, 1)


def test_the_same_message_at_two_workers_at_once_has_its_effect_once(site: CrashSite) -> None:
    orders = [f"order-{number}" for number in range(ORDERS)]
    for order in orders:
        site.send(order, 2)
    with site.workers("1", "1"):
        for order in orders:
            assert site.producer.AsyncResult(order).get(timeout=30) == {"order": order, "cents": 1}
        wait_until(lambda: "has been done before" in _logs(site))
    assert site.call("charges_by_order") == dict.fromkeys(orders, 1)


def _logs(site: CrashSite) -> str:
    return "".join(path.read_text() for path in site.folder.glob("worker*.log"))
