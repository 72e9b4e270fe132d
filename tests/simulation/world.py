"""Virtual time, and machines with processes that live in it. Deterministic: one strand runs at a time."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import NoReturn

from greenlet import getcurrent, greenlet

__all__ = ["EPOCH", "Killed", "Machine", "Process", "Strand", "Violation", "World"]

#: Where virtual time begins, so that neither clock ever reads 0.
EPOCH = 1_000_000.0
#: Far more than any schedule needs.
MOST_EVENTS = 20_000


class Killed(BaseException):
    """Unwinds what a killed process still had on its stacks; nothing it does on the way has an effect."""


class Violation(BaseException):
    """A promise was broken; no code of the engine may catch it."""


class Strand(greenlet):
    """A thread of a simulated process."""

    def __init__(self, process: Process, main: Callable[[], object]) -> None:
        super().__init__(self._main, process.world.hub)
        self.process = process
        self._begin = main
        #: Wake-ups that were arranged under an earlier number are void.
        self.ticket = 0
        #: What the process has sent and nobody has received yet.
        self.in_flight: Callable[[], object] | None = None

    def _main(self) -> None:
        with suppress(Killed):
            self._begin()


class Machine:
    """A node: processes that share a clock, and die together when it does."""

    def __init__(self, world: World, name: str, skew: float) -> None:
        self.world = world
        self.name = name
        #: Seconds by which its wall clock is ahead of the broker's.
        self.skew = skew
        self.processes: list[Process] = []
        world.machines.append(self)
        self._disturbed_until = 0.0

    @property
    def alive(self) -> bool:
        return any(process.alive for process in self.processes)

    def kill(self) -> None:
        """All its processes die at once."""
        for process in self.processes:
            process.die(-signal.SIGKILL)
        self.world.unless_dead()

    def pause(self, seconds: float) -> None:
        """Freeze all its processes."""
        for process in self.processes:
            process.pause(seconds)

    def disturb(self, seconds: float) -> None:
        """Excuse leases of this node that run out within this time."""
        self._disturbed_until = max(self._disturbed_until, self.world.now + seconds)

    @property
    def disturbed(self) -> bool:
        """Whether something keeps, or has just kept, its processes from renewing what they hold."""
        return self.world.now < max(self._disturbed_until, self.world.disturbed_until)


class Process:
    """A process of a machine; its strands run one at a time, and none once it is dead."""

    def __init__(
        self, machine: Machine, name: str, main: Callable[[], object], parent: Process | None = None
    ) -> None:
        self.world = machine.world
        self.machine = machine
        self.name = name
        self.parent = parent
        self.children: list[Process] = []
        self.pid = next(self.world.pids)
        self.alive = True
        self.exitcode: int | None = None
        self.paused_until = 0.0
        self.handler: Callable[[], None] | None = None
        self.signalled = False
        self.strands: list[Strand] = []
        machine.processes.append(self)
        if parent is not None:
            parent.children.append(self)
        self.main = self.spawn(lambda: self._run(main))

    def spawn(self, main: Callable[[], object]) -> Strand:
        """Start a strand, which runs as soon as the present one waits."""
        strand = Strand(self, main)
        self.strands.append(strand)
        self.world.wake(strand)
        return strand

    def _run(self, main: Callable[[], object]) -> None:
        try:
            main()
        except Exception as error:
            # No fault may make the engine raise: whatever comes here is a finding.
            self.world.fail(f"{self.name} raised {type(error).__name__}: {error}")
        self.die(0)

    def die(self, exitcode: int) -> None:
        """End at once, without running a line more."""
        if self.alive:
            self.alive, self.exitcode = False, exitcode
            self.world.bury(self.strands)
            for child in self.children:
                child.receive(signal.SIGTERM)  # as prctl(PR_SET_PDEATHSIG) has it

    def is_alive(self) -> bool:
        """What the supervisor asks of a child."""
        return self.alive

    def kill(self) -> None:
        """SIGKILL, from wherever; if it is the present process, this does not return."""
        self.die(-signal.SIGKILL)
        self.world.unless_dead()

    def pause(self, seconds: float) -> None:
        """SIGSTOP, with a SIGCONT after so many seconds."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)

    def receive(self, number: signal.Signals) -> None:
        """Take a signal: SIGKILL at once, SIGTERM when its main strand runs next."""
        if not self.alive:
            return
        if number == signal.SIGKILL:
            self.kill()
        elif number == signal.SIGTERM:
            self.signalled = True
            self.world.wake(self.main)


class World:
    """Everything that happens, in the order of virtual time."""

    def __init__(self, random: Random, trace: list[tuple[float, str, str]] | None = None) -> None:
        """With ``trace``, what happens is added to it in words."""
        self.random = random
        self.trace = trace
        self.now = EPOCH
        self.hub = getcurrent()
        self.pids = count(100)
        self.names = count(1)
        self.failure: str | None = None
        self.events = 0
        #: Until then no node may be able to renew its leases, or none whose supervisor is dead.
        self.disturbed_until = self.orphans_disturbed_until = 0.0
        self.machines: list[Machine] = []
        #: Faults injected, by kind.
        self.injected: Counter[str] = Counter()
        #: How often each named step was reached, and what is to happen at a certain one of them.
        self.reached: Counter[str] = Counter()
        self.armed: dict[tuple[str, int], Callable[[Process], None]] = {}
        self._heap: list[tuple[float, int, Strand | None, int | Callable[[], object]]] = []
        self._order = count()
        self._dead: list[Strand] = []

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now - EPOCH

    # -- What strands call

    @property
    def strand(self) -> Strand:
        """The strand that runs now."""
        strand: Strand = getcurrent()
        return strand

    @property
    def process(self) -> Process:
        """The process whose code runs now."""
        process: Process = getcurrent().process
        return process

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass for the present strand; a signal's handler may end it earlier by raising."""
        until = self.now + seconds
        self.park(seconds)
        while self.now < until:
            self.park(until - self.now)

    def park(self, seconds: float | None) -> None:
        """Wait until woken, or for so many seconds."""
        strand = self.strand
        process = strand.process
        self._go_on(strand, process)
        strand.ticket += 1
        if seconds is not None:
            heappush(self._heap, (self.now + seconds, next(self._order), strand, strand.ticket))
        self.hub.switch()
        self._go_on(strand, process)

    def _go_on(self, strand: Strand, process: Process) -> None:
        if self.failure is not None or not process.alive:
            raise Killed
        if process.signalled and strand is process.main:
            self._handle_signal(process)

    def _handle_signal(self, process: Process) -> None:
        process.signalled = False
        if process.handler is None:
            process.kill()
        else:
            process.handler()

    def unless_dead(self) -> None:
        """Go no further in a process that is dead, nor in a world that has failed."""
        strand = getcurrent()
        if self.failure is not None or (isinstance(strand, Strand) and not strand.process.alive):
            raise Killed

    def step(self, name: str) -> None:
        """Reach a named step: the instant at which a fault may be due."""
        nth = self.reached[name] = self.reached[name] + 1
        if (name, nth) in self.armed:
            process = self.process
            self.armed.pop((name, nth))(process)
            self.unless_dead()
            if process.paused_until > self.now:
                self.park(0.0)

    def fail(self, what: str) -> NoReturn:
        """End the schedule: this should never have happened."""
        if self.failure is None:
            self.failure = what
            self.say("violation", what)
        raise Violation(what)

    def disturb(self, seconds: float) -> None:
        """Excuse all leases that run out within this time."""
        self.disturbed_until = max(self.disturbed_until, self.now + seconds)

    def say(self, who: str, what: str) -> None:
        """Add a line to the trace, if there is one."""
        if self.trace is not None:
            self.trace.append((self.elapsed, who, what))

    # -- What arranges the future

    def wake(self, strand: Strand) -> None:
        """Let the strand run as soon as the present one waits."""
        strand.ticket += 1
        heappush(self._heap, (self.now, next(self._order), strand, strand.ticket))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do this after so many seconds, in no process."""
        heappush(self._heap, (self.now + seconds, next(self._order), None, action))

    def bury(self, strands: list[Strand]) -> None:
        """Unwind these strands of a dead process when nothing else runs."""
        self._dead += strands

    # -- The loop

    def run(self, finished: Callable[[], bool], until: float) -> bool:
        """Let time pass until ``finished()``, or up to ``until`` seconds; return whether finished."""
        limit = EPOCH + until
        while self._heap and self._heap[0][0] <= limit:
            self.events += 1
            if self.events > MOST_EVENTS:
                raise Violation(self.failure or "it goes round in circles: time hardly passes")
            at, order, strand, what = heappop(self._heap)
            if strand is None:
                self.now = at
                what()  # type: ignore[operator]
            elif strand.ticket != what or not strand.process.alive:
                continue
            elif strand.process.paused_until > at:
                heappush(self._heap, (strand.process.paused_until, order, strand, what))
                continue
            else:
                self.now = at
                strand.switch()
            if self._dead:
                self._unwind()
            if self.failure is not None:
                raise Violation(self.failure)
            if finished():
                return True
        self.now = max(self.now, limit)
        return finished()

    def close(self) -> None:
        """Unwind everything that is left."""
        self.failure = self.failure or "over"
        for machine in self.machines:
            for process in machine.processes:
                process.alive = False
                self._dead += process.strands
        self._unwind()

    def _unwind(self) -> None:
        while self._dead:
            strand = self._dead.pop()
            if not strand.dead:
                with suppress(Killed, Violation):
                    strand.throw(Killed)
