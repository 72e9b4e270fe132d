"""Soft time limits in the process that runs the task."""

from __future__ import annotations

import signal
import time

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
