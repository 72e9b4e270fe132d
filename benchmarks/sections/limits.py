"""How far Celeriac is from what CPython and Redis could do at best on this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contenders.lineup import CONTENDERS, CORES, Contender
from rig.stage import Stage, open_stage, program_environment
from rig.tape import Tape
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["LIMITS"]

_PROGRAM = Path(__file__).resolve().parents[1] / "bare_loop.py"
_MESSAGES = 1_000
_DRAIN_SECONDS = 2.0
_LOOP_SECONDS = 1.0
_PIPELINE = 1_000
_PIPELINES = 100
_KEY = "bench:limit"


def measure(_contenders: Sequence[Contender], number: int, effort: Effort) -> Iterator[Sample]:
    contender = next(one for one in CONTENDERS if one.is_celeriac)
    with open_stage(contender) as stage, stage.producer() as producer:
        stage.redis.messages.flushall()
        producer.fill(_MESSAGES)
        messages: Any = stage.redis.messages.lrange("celery", 0, -1)
        stage.redis.messages.flushall()
        loops = _bare_loops(stage, messages, effort.seconds(_LOOP_SECONDS))
        pipelined = _pipelined(stage, messages, effort.count(_PIPELINES))
        with stage.warm_worker(producer) as worker:
            count = contender.tasks(effort.seconds(_DRAIN_SECONDS))
            drained = drain(stage, worker, producer, count).per_second
    limits = {
        f"decode and call, {CORES} processes, json": loops[0],
        f"decode and call, {CORES} processes, msgspec": loops[1],
        "Redis, LPUSH and RPOP pipelined": pipelined,
    }
    for name, rate in limits.items():
        values = {"reached": drained / rate, "per_second": rate, "drained": drained}
        yield Sample(name, number, f"{contender.name} against the limit", values)


def _bare_loops(stage: Stage, messages: Sequence[bytes], seconds: float) -> list[float]:
    """Calls per second of as many processes at once as the worker has, by both decoders."""
    file = stage.folder / "messages"
    Tape(messages).write(file)
    command = [sys.executable, str(_PROGRAM), str(file), str(seconds)]
    environment = program_environment(celeriac=False)
    loops = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(CORES)]
    rates = [json.loads(loop.communicate()[0]) for loop in loops]
    return [sum(rate) for rate in zip(*rates, strict=True)]


def _pipelined(stage: Stage, messages: Sequence[bytes], pipelines: int) -> float:
    """Messages per second through Redis, in and out, if nobody does anything else with them."""
    message = messages[0]
    push = b"*3\r\n$5\r\nLPUSH\r\n$%d\r\n%s\r\n" % (len(_KEY), _KEY.encode())
    push += b"$%d\r\n%s\r\n" % (len(message), message)
    pop = b"*2\r\n$4\r\nRPOP\r\n$%d\r\n%s\r\n" % (len(_KEY), _KEY.encode())
    popped = _PIPELINE * len(b"$%d\r\n%s\r\n" % (len(message), message))
    with socket.create_connection(("127.0.0.1", stage.redis.port)) as redis:
        answers = redis.makefile("rb")
        start = time.perf_counter()
        for _ in range(pipelines):
            redis.sendall(push * _PIPELINE)
            for _ in range(_PIPELINE):
                answers.readline()
            redis.sendall(pop * _PIPELINE)
            answers.read(popped)
        return pipelines * _PIPELINE / (time.perf_counter() - start)


LIMITS = Section(
    name="limits",
    title="Distance to the physical limit",
    note="The limits do nothing but the one thing that they are named after, on both cores.",
    columns=(
        Column("Celeriac reaches", "reached", ".3f"),
        Column("limit/s", "per_second"),
        Column("Celeriac/s", "drained"),
    ),
    seconds=12,
    measure_all=measure,
)
