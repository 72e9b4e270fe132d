"""``celeriac outbox`` and the relay inside of workers, as processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.django.conftest import empty
from tests.django.test_relay import waiting, write
from tests.servers import wait_until
from tests.workers import ROOT, Ledger, worker

APP = "tests.django.shop.celery"
NOWHERE = "redis://127.0.0.1:1/0"


class Site:
    """A project whose database is the one of this process, with a broker of its own."""

    def __init__(self, folder: Path, project: Any, url: str = "") -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db")
        self.url = url or f"sqlite:///{folder}/broker.db"
        name = project.settings["default"]["NAME"]
        self.environment = {
            "DATABASES": json.dumps({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(name)}}),
            "BROKER": self.url,
            "LEDGER": str(self.ledger.path),
            "FAST_SECONDS": "0.2",
            "QUEUE": f"q{uuid.uuid4().hex[:8]}",
            "MAX_ATTEMPTS": "1",
            "LEASE": "1",
        }

    def run(self, *arguments: str, celery: bool = False, **environment: str) -> tuple[int, str]:
        """Run ``celeriac``, or ``celery celeriac``; return its exit code and what it printed."""
        program = Path(sys.executable).with_name("celery" if celery else "celeriac")
        first = [str(program), "-A", APP, *(["celeriac"] if celery else [])]
        done = subprocess.run(
            [*first, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment, **environment, "PYTHONWARNINGS": "ignore"},
            check=False,
            timeout=60,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def produce(self, orders: int) -> None:
        """Commit orders whose calls stay in the outbox, as no broker answers."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.django.producer", str(orders), "0"],
            cwd=ROOT,
            env={**os.environ, **self.environment, "BROKER": NOWHERE},
            check=False,
            timeout=60,
        )
        assert done.returncode == 0

    def worker(self, *options: str) -> Any:
        return worker(APP, *options, environment=self.environment, log=self.folder / "worker.log")


@pytest.fixture
def site(tmp_path: Path, project: Any) -> Iterator[Site]:
    yield Site(tmp_path, project)
    empty("default")


def test_status_and_replay(site: Site) -> None:
    from django.utils import timezone

    from celeriac.django.models import DeadOutboxMessage

    code, text = site.run("outbox", "status", "--json")
    assert code == 0
    [found] = json.loads(text)["outboxes"]
    assert (found["database"], found["depth"], found["dead"]) == ("default", 0, 0)
    write("default", ["one"])
    now = timezone.now()
    dead = DeadOutboxMessage.objects.create(
        task="ship", task_id="two", queue="celery", payload=b"{}", created=now, died=now
    )
    code, text = site.run("outbox", "status", celery=True)
    assert code == 1
    assert "waiting" in text
    code, text = site.run("outbox", "replay", str(dead.pk), "4711", "--json")
    assert (code, json.loads(text)) == (1, {"replayed": 1, "absent": 1})
    assert waiting("default") == ["one", "two"]
    code, text = site.run("outbox", "replay", "--all", "--yes")
    assert (code, text.strip()) == (0, "0 replayed")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["outbox", "replay"], "name messages by their ids, or take --all"),
        (["outbox", "status", "--database", "defualt"], "did you mean 'default'?"),
    ],
)
def test_mistakes_end_with_two(site: Site, arguments: list[str], says: str) -> None:
    code, text = site.run(*arguments)
    assert code == 2
    assert says in text


def test_an_app_without_django_has_no_outbox() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("celeriac")), "-A", "tests.apps.stock", "outbox", "status"],
        cwd=ROOT,
        env={**os.environ, "BROKER": NOWHERE, "RESULTS": NOWHERE},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 2
    assert "the app is in no Django project" in done.stdout


def test_the_relay_of_the_command(site: Site) -> None:
    site.produce(3)
    assert len(waiting("default")) == 3
    code, text = site.run("outbox", "relay", "--drain", "--timeout", "1", BROKER=NOWHERE)
    assert (code, text.splitlines()[-1]) == (1, "0 relayed, and something is left")
    code, text = site.run("outbox", "relay", "--drain", "--json")
    assert (code, json.loads(text)) == (0, {"relayed": {"default": 3}, "empty": True})
    assert waiting("default") == []


@pytest.mark.shows("setting", "outbox_relay_in_worker")
def test_a_worker_relays_and_replaces_a_relay_that_died(site: Site) -> None:
    site.produce(3)
    with site.worker("-c", "1") as running:
        wait_until(lambda: site.ledger.count("shipped") == 3)
        first = _relay_of(running)
        os.kill(first, signal.SIGKILL)
        running.wait_log("the outbox relay has died")
        wait_until(lambda: _relay_of(running) != first)
        site.produce(2)
        wait_until(lambda: site.ledger.count("shipped") == 5)
        second = _relay_of(running)
        assert running.stop() == 0
        assert not Path(f"/proc/{second}").exists()


def test_a_relay_ends_with_a_worker_that_is_killed(site: Site) -> None:
    with site.worker("-c", "1") as running:
        relay = _relay_of(running)
        os.kill(running.pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{relay}").exists())


def test_celerys_own_worker_relays_to_rabbitmq(rabbitmq: str, tmp_path: Path, project: Any) -> None:
    site = Site(tmp_path, project, rabbitmq)
    site.produce(3)
    with site.worker("-c", "1", "--without-mingle", "--without-gossip") as running:
        running.wait_log("stock worker")
        wait_until(lambda: site.ledger.count("shipped") == 3)
        os.kill(_relay_of(running), signal.SIGKILL)
        running.wait_log("the outbox relay has died")
        site.produce(1)
        wait_until(lambda: site.ledger.count("shipped") == 4)
        assert running.stop() == 0
    empty("default")


def test_calls_from_a_task_leave_with_its_transaction(site: Site) -> None:
    from celeriac import Celery

    with site.worker("-c", "1"):
        producer = Celery("producer", broker=site.url, set_as_current=False)
        producer.send_task("order", ("from a task",), queue=site.environment["QUEUE"])
        wait_until(lambda: site.ledger.count("shipped", "from a task") == 1)
    assert waiting("default") == []


def _relay_of(running: Any) -> int:
    running.wait_log("relayed by process")
    return int(re.findall(r"relayed by process (\d+)", running.text)[-1])
