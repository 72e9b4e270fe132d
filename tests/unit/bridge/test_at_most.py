"""Waiting has an end in the main thread, whatever it waits for."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import suppress

import pytest

from celeriac.bridge.at_most import at_most
from celeriac.core.errors import BrokerUnavailable


def wait_in_vain(seconds: float) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, at_most(seconds, "nobody answers"):
        with suppress(Exception):  # a store's own retries do not take it for an error of the store
            ours.recv(1)
        pytest.fail("the wait ended otherwise")


def test_a_wait_for_somebody_silent_ends() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(BrokerUnavailable, match="nobody answers within"):
        wait_in_vain(0.1)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ends_in_time_is_left_alone() -> None:
    with at_most(60, "nobody answers"):
        ended = True
    assert ended
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_thread_waits_for_as_long_as_it_likes() -> None:
    done = threading.Event()

    def wait() -> None:
        with at_most(0.001, "nobody answers"):
            threading.Event().wait(0.05)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert done.is_set()
