"""Real processes are started and killed, and nothing of them runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeriac.demo.broker import DemoBroker
from celeriac.demo.interrupts import interruptible
from celeriac.demo.process_group import kill_group, wait_until_gone
from celeriac.demo.processes import BackgroundProcess
from celeriac.demo.project import Site
from tests.servers import wait_until

TWO = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print('two'); sys.stdout.flush(); {then}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(DemoBroker(f"sqlite:///{tmp_path}/broker.db", run="r")) as broker:
        yield Site(tmp_path, tmp_path, broker)


def start_two(then: str) -> subprocess.Popen[bytes]:
    """Start a group of two processes; the first does ``then`` once there is the second."""
    code = TWO.format(then=then)
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert first.stdout is not None
    first.stdout.readline()
    return first


def test_a_group_runs_for_as_long_as_one_of_its_processes_does() -> None:
    first = start_two("sys.exit()")
    first.wait()
    assert not wait_until_gone(first.pid, seconds=0.1)
    kill_group(first.pid)
    assert wait_until_gone(first.pid, seconds=30)
    kill_group(first.pid)


def test_a_process_that_has_ended_counts_as_gone_before_anybody_asks_for_its_exit_code() -> None:
    first = start_two("import time; time.sleep(600)")
    kill_group(first.pid)
    assert wait_until_gone(first.pid, seconds=30)
    assert os.waitpid(first.pid, os.WNOHANG)[0] == first.pid


def test_killing_a_process_kills_what_it_started(site: Site) -> None:
    code = TWO.format(then="import time; time.sleep(600)")
    process = BackgroundProcess(site, "pair", [sys.executable, "-c", code])
    process.kill()
    process.start()
    wait_until(lambda: "two" in process.output(), what="the second process")
    process.kill()
    assert process.exit_code == -signal.SIGKILL
    assert wait_until_gone(process.pid, seconds=0)


def test_an_interruption_in_the_middle_of_a_start_leaves_no_process_behind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InterruptedPopen(subprocess.Popen[bytes]):
        """The process runs, and nobody knows of it yet."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            signal.raise_signal(signal.SIGTERM)

    process = BackgroundProcess(site, "sleeper", ["sleep", "600"])
    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    with pytest.raises(KeyboardInterrupt), interruptible():
        process.start()
    process.kill()
    assert process.exit_code == -signal.SIGKILL
