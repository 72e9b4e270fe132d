"""Notices reach a shard whole, in order, whatever their size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from celeriac.engine.notices import (
    NoticePipe,
    Queues,
    RateLimit,
    Revoked,
    StampsRevoked,
    TaskEvents,
    TimeLimits,
)


def test_notices_arrive_in_order_and_once() -> None:
    pipe = NoticePipe()
    assert pipe.read() == []
    sent = [
        Queues(("a", "b")),
        Revoked(["1", "2"]),
        StampsRevoked({"tenant": ["x", 7]}),
        TimeLimits("job", 1.5, None),
        RateLimit("job", "5/m"),
        TaskEvents(True),
    ]
    for notice in sent:
        pipe.send(notice)
    assert pipe.read() == sent
    assert pipe.read() == []


def test_what_the_pipe_cannot_take_at_once_follows() -> None:
    pipe = NoticePipe()
    big = Revoked([f"{number:036}" for number in range(20_000)])
    pipe.send(big)
    pipe.send(TaskEvents(False))
    got = []
    while len(got) < 2:
        got += pipe.read()
        pipe.flush()
    assert got == [big, TaskEvents(False)]


def test_a_dead_shard_is_no_trouble() -> None:
    pipe = NoticePipe()
    pipe.shard_started()
    pipe.send(Revoked(["1"]))
    pipe.send(Revoked(["2"]))
    pipe.close()


def test_no_program_that_a_task_starts_inherits_the_pipe() -> None:
    before = set(pipe_ends())
    pipe = NoticePipe()
    ends = set(pipe_ends()) - before
    assert len(ends) == 2
    assert not any(os.get_inheritable(end) for end in ends)
    pipe.close()


def pipe_ends() -> list[int]:
    numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [number for number in numbers if Path(f"/proc/self/fd/{number}").is_fifo()]


@pytest.mark.parametrize(
    "notice",
    [
        Revoked([5]),  # type: ignore[list-item]
        TimeLimits("job", "soon", None),  # type: ignore[arg-type]
        RateLimit("job", [1]),  # type: ignore[arg-type]
        Queues((5,)),  # type: ignore[arg-type]
        Revoked(["\ud800"]),
        TimeLimits("job", 10**400, None),
    ],
    ids=ascii,
)
def test_what_a_shard_could_not_read_is_refused_where_it_is_sent(notice: Any) -> None:
    pipe = NoticePipe()
    with pytest.raises(TypeError, match="not to be told"):
        pipe.send(notice)
    pipe.send(Revoked(["1"]))
    assert pipe.read() == [Revoked(["1"])]
