"""Soft time limits in the process that runs the task."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from celeriac.bridge.limits import soft_time_limit


def test_what_runs_too_long_is_interrupted() -> None:
    with pytest.raises(SoftTimeLimitExceeded), soft_time_limit(0.02):
        time.sleep(60)


def test_what_ends_in_time_is_left_alone_and_so_is_what_follows() -> None:
    with soft_time_limit(0.05):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_in_a_thread_where_no_signal_arrives_the_body_runs_without_a_limit() -> None:
    def run() -> str:
        with soft_time_limit(0.01):
            return "it ran"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run).result() == "it ran"


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_the_handler_before_is_back_however_it_ends(error: type[BaseException]) -> None:
    def mine(*_: object) -> None:
        """The application's own."""

    def run() -> None:
        with soft_time_limit(30):
            assert signal.getsignal(signal.SIGALRM) is not mine
            raise error

    before = signal.signal(signal.SIGALRM, mine)
    try:
        with pytest.raises(error):
            run()
        assert signal.getsignal(signal.SIGALRM) is mine
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)
