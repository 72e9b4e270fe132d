"""`python -m tests.screenshots`: pictures of Flower while two workers of the example project are busy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.browser import screenshot
from tests.flower import Flower, flower
from tests.servers import redis_server, wait_until
from tests.workers import ROOT, worker

PROJECT = ROOT / "examples" / "logistics"
IMAGES = ROOT / "docs" / "images"
NODES = ("north@depot", "south@depot")
#: Tasks after which there is something to see.
ENOUGH = 2000
#: In points; the tables of tasks and workers need the width.
WIDTH, HEIGHT = 1280, 620


def main() -> None:
    """The pictures in docs/images are new."""
    with redis_server() as redis, tempfile.TemporaryDirectory(prefix="celeriac-screenshots-") as name:
        folder = Path(name)
        environment = {
            "CELERY_BROKER_URL": redis.url,
            "DJANGO_SETTINGS_MODULE": "logistics.settings",
            "LOGISTICS_DATABASE": str(folder / "logistics.db"),
            "PYTHONPATH": str(PROJECT),
        }
        manage(environment, "migrate", "-v", "0").wait()
        options = ["-c", "2", "-E", "-l", "warning"]
        north, south = (
            worker(
                "logistics",
                *(*options, "-n", node),
                environment=environment,
                log=folder / f"{node}.log",
                ready=False,
            )
            for node in NODES
        )
        with north, south, flower("logistics", environment, folder / "flower.log") as watcher:
            for node in NODES:
                watcher.wait_for(node)
            orders = manage(environment, "import_orders", str(PROJECT / "data" / "orders.csv"))
            wait_until(lambda: processed(watcher) > ENOUGH, timeout=60, what="orders")
            take(watcher)
            orders.kill()
            orders.wait()


def manage(environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """One of the project's Django commands, started."""
    command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)


def processed(watcher: Flower) -> int:
    """How many tasks the workers have started."""
    workers = watcher.api("workers?refresh=1").values()
    return sum(sum(worker["stats"]["total"].values()) for worker in workers)


def take(watcher: Flower) -> None:
    """The pictures are taken while the work goes on."""
    IMAGES.mkdir(exist_ok=True)
    pages = {"workers": "workers", "worker": f"worker/{NODES[0]}", "tasks": "tasks"}
    for name, page in pages.items():
        screenshot(f"{watcher.url}/{page}", IMAGES / f"flower-{name}.png", WIDTH, HEIGHT)


if __name__ == "__main__":
    try:
        main()
    except (
        pytest.skip.Exception,
        pytest.fail.Exception,
    ) as error:  # a program is missing, or something hangs
        sys.exit(str(error))
