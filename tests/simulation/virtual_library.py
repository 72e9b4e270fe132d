"""What the engine's modules see of the standard library while they run in virtual time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import celeriac.engine
from celeriac.engine import run, supervisor
from celeriac.engine.notices import AnyNotice
from tests.simulation.world import Process, Strand, World

__all__ = ["VirtualLibrary", "installed"]


class VirtualLibrary:
    """Stands for ``time``, ``os`` and ``threading``; each schedule puts its own world into it."""

    world: World

    def __init__(self) -> None:
        self.time = _Clock(self)
        self.os = _System(self)
        self.threading = _Threads(self)

    # -- What the supervisor makes

    def child_process(self, name: str, main: Callable[[], None]) -> Process:
        """A fork of the present process."""
        parent = self.world.process
        # Its supervisor's name tells the node.
        process = Process(
            parent.machine, f"{parent.name} {name.lower()} #{next(self.world.names)}", main, parent
        )
        self.world.say(process.name, "starts")
        return process

    def unique(self) -> Any:
        """A UUID's hexadecimal digits that are the same in every run of a schedule."""
        return _Hex(f"{next(self.world.names):012x}")


class _Hex:
    def __init__(self, text: str) -> None:
        self.hex = text


class Lane:
    """A notice pipe within one process of ours."""

    def __init__(self) -> None:
        self._unread: list[AnyNotice] = []

    def send(self, notice: AnyNotice) -> None:
        self._unread.append(notice)

    def read(self) -> list[AnyNotice]:
        unread, self._unread = self._unread, []
        return unread

    def flush(self) -> None:
        """Nothing is ever left over."""

    def shard_started(self) -> None:
        """There is no second end."""

    def close(self) -> None:
        """There is nothing to give back."""


class _StandIn:
    """Falls back to the real module for everything that virtual time does not concern."""

    real: ModuleType

    def __init__(self, library: VirtualLibrary) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Clock(_StandIn):
    real = time

    def time(self) -> float:
        world = self._library.world
        return world.now + world.process.machine.skew

    def monotonic(self) -> float:
        return self._library.world.now

    def sleep(self, seconds: float) -> None:
        self._library.world.sleep(seconds)


class _System(_StandIn):
    real = os

    def getpid(self) -> int:
        return self._library.world.process.pid

    def getppid(self) -> int:
        parent = self._library.world.process.parent
        return parent.pid if parent is not None and parent.alive else 1

    def kill(self, pid: int, number: signal.Signals) -> None:
        for process in self._library.world.process.machine.processes:
            if process.pid == pid:
                process.receive(number)


class _Threads(_StandIn):
    real = threading

    def Event(self) -> _Event:  # noqa: N802 (the library's name)
        return _Event(self._library.world)

    def RLock(self) -> _Lock:  # noqa: N802 (the library's name)
        return _Lock(self._library.world)

    def Thread(self, target: Callable[[], object], **_: object) -> _Thread:  # noqa: N802 (the library's name)
        return _Thread(self._library.world, target)


class _Waiting:
    """Strands that wait for one thing to change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiters: list[Strand] = []

    def _wait(self, seconds: float | None) -> None:
        strand = self._world.strand
        self._waiters.append(strand)
        try:
            self._world.park(seconds)
        finally:
            self._waiters.remove(strand)

    def _changed(self) -> None:
        for strand in self._waiters:
            self._world.wake(strand)


class _Event(_Waiting):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._changed()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else self._world.now + timeout
        while not self._set and (until is None or self._world.now < until):
            self._wait(None if until is None else until - self._world.now)
        return self._set


class _Lock(_Waiting):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._owner: Strand | None = None
        self._depth = 0

    def __enter__(self) -> bool:
        strand = self._world.strand
        while self._owner is not None and self._owner is not strand:
            self._wait(None)
        self._owner = strand
        self._depth += 1
        return True

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._changed()


class _Thread:
    def __init__(self, world: World, target: Callable[[], object]) -> None:
        self._world = world
        self._target = target
        self._ended = _Event(world)

    def start(self) -> None:
        self._world.process.spawn(self._run)

    def _run(self) -> None:
        self._target()
        self._ended.set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)


@contextmanager
def installed(library: VirtualLibrary) -> Iterator[None]:
    """Give the engine's modules the virtual library for the time of the block."""
    before: list[tuple[Any, str, Any]] = []

    def put(place: Any, name: str, value: Any) -> None:
        before.append((place, name, getattr(place, name)))
        setattr(place, name, value)

    stand_ins = {id(one.real): one for one in (library.time, library.os, library.threading)}
    for found in pkgutil.iter_modules(celeriac.engine.__path__, "celeriac.engine."):
        module = importlib.import_module(found.name)
        for name, value in list(vars(module).items()):
            if isinstance(value, ModuleType) and id(value) in stand_ins:
                put(module, name, stand_ins[id(value)])
    put(supervisor, "ChildProcess", library.child_process)
    put(supervisor, "NoticePipe", Lane)
    put(supervisor, "uuid4", library.unique)
    # Its default is the function itself, and so was bound before.
    put(run.Runner.__init__, "__defaults__", ((), library.time.time))
    try:
        yield
    finally:
        for place, name, value in reversed(before):
            setattr(place, name, value)
