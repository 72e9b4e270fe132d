"""Waiting awake for an answer: only while answers come soon, and only with a core to spare."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from celeriac.brokers.redis_wait import LOOK_AGAIN_AFTER, WakefulWait

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores"
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_an_answer_that_is_there_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.send(b"+OK\r\n")
    assert WakefulWait(near).wait()
    assert near.recv(100) == b"+OK\r\n"


def test_after_a_late_answer_the_next_one_is_slept_over(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    wait = WakefulWait(near)
    assert not wait.wait()
    far.send(b"+OK\r\n")
    assert [wait.wait() for _ in range(3)] == [False, True, True]


def test_the_more_answers_are_late_the_fewer_are_waited_for_awake(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    wait = WakefulWait(near)
    for _ in range(LOOK_AGAIN_AFTER + 10):
        assert not wait.wait()
    far.send(b"+OK\r\n")
    waited = [wait.wait() for _ in range(2 * LOOK_AGAIN_AFTER)]
    assert waited.index(True) > LOOK_AGAIN_AFTER / 2
    assert all(waited[waited.index(True) :])


def test_a_closed_connection_ends_the_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    assert WakefulWait(near).wait()
    assert near.recv(100) == b""


@pytest.mark.usefixtures("one_core")
def test_on_one_core_nobody_waits_awake(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.send(b"+OK\r\n")
    assert not WakefulWait(near).wait()
