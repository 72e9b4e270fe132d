"""How long a call waits whose process was killed between its commit and the broker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from outbox_parts.site import QUEUE, ROOT, Site

__all__ = ["measure_recovery"]

PATIENCE = 60.0
_BOTH = "the process and the worker's relay were killed"
#: Commits a call and says when; it is gone before the call can be published, and who is named before that.
KILLED = """
import os, signal, sys, time
from tests.django.shop.celery import ship
import django
django.setup()
from django.db import transaction

def die():
    sys.stdout.write(str(time.monotonic()))
    sys.stdout.flush()
    for pid in (*map(int, sys.argv[1:]), os.getpid()):
        os.kill(pid, signal.SIGKILL)

with transaction.atomic():
    transaction.on_commit(die)
    ship.delay("one")
"""


def measure_recovery(site: Site, kills: int) -> dict[str, list[float]]:
    """Return the seconds from the commit until the call is at the broker, beside one worker."""
    client: Any = redis.Redis.from_url(site.url)
    log = site.folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.django.shop.celery", "worker"]
    found: dict[str, list[float]] = {"the process was killed": [], _BOTH: []}
    with site.running(*command, "-c", "1", "-Q", "none", "-l", "info", output=log):
        _relay_pid(log, None)
        for name, waits in found.items():
            for _ in range(kills):
                client.delete(QUEUE)
                relay = _relay_pid(log, None)
                too = [str(relay)] if name == _BOTH else []
                waits.append(_wait_for_call(site, client, too))
                if too:
                    _relay_pid(log, relay)
    return found


def _wait_for_call(site: Site, client: Any, killed_too: Sequence[str]) -> float:
    command = [sys.executable, "-c", KILLED, *killed_too]
    dead = subprocess.run(command, cwd=ROOT, env=site.environment, stdout=subprocess.PIPE, check=False)
    assert dead.returncode == -signal.SIGKILL
    # It is at the broker by now, or will be.
    deadline = time.monotonic() + PATIENCE
    while not client.llen(QUEUE):
        if time.monotonic() > deadline:
            raise TimeoutError("the call is lost")
        time.sleep(0.001)
    return time.monotonic() - float(dead.stdout)


def _relay_pid(log: Path, other_than: int | None) -> int:
    """Return the process of the worker's relay, as soon as it is another one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        pids = re.findall(r"relayed by process (\d+)", log.read_text() if log.exists() else "")
        if pids and int(pids[-1]) != other_than:
            return int(pids[-1])
        if time.monotonic() > deadline:
            raise TimeoutError("the worker has no relay")
        time.sleep(0.01)
