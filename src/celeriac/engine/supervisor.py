"""The supervisor: starts shards, replaces dead ones, and looks after their leases. Runs no user code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import uuid4

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events, ShardStarted, ShardStarting, ShardStopped
from celeriac.core.lease import DeadLetter, Eviction
from celeriac.core.settings import Settings
from celeriac.engine.journal import Entry, Journal
from celeriac.engine.note import Note, read_notes
from celeriac.engine.notices import AnyNotice, NoticePipe, Queues
from celeriac.engine.outage import Outage
from celeriac.engine.process import ChildProcess
from celeriac.engine.shard import ShardSpec
from celeriac.engine.terminate import TERMINATED, TIME_LIMIT, Terminations, Wish, hold_still
from celeriac.engine.upkeep import Promoter, Reaper, Renewer

__all__ = ["RunningShard", "Supervisor", "new_spec"]

_PAUSE, _STOPPING_PAUSE = 0.1, 0.02
#: A shard that lived shorter than this many seconds is replaced after a pause that doubles.
_SHORT_LIFE = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Seconds between two requests to stop: one that was only just forked may not hear the first.
_ASK_EVERY = 0.5
#: Bytes of a shard's note: in any case, and for each delivery it may run at a time.
_NOTE_FIRST, _NOTE_EACH = 16384, 1024
_WORKER_LOST = "its worker process died while it ran, and it must not start twice (acks_late is off)"
_ANOTHER_OVERDUE = "its worker process ended as another task in it ran too long, and it must not start twice"
_COLD_SHUTDOWN = "its worker was shut down cold while it ran, and it must not start twice (acks_late is off)"


def new_spec(
    name: str,
    node: str,
    queues: Sequence[str],
    settings: Settings,
    max_tasks: int | None = None,
    max_memory: int | None = None,
    number: int = 0,
    slots: tuple[int, int] = (1, 1),
) -> ShardSpec:
    """Return the specification of a shard that no other ever shares its owner id with.

    ``slots``: how many deliveries it may run at a time, and how many it can ever be told to.
    """
    most = slots[1]
    return ShardSpec(
        name=name,
        owner=f"{node}/{name}/{uuid4().hex[:12]}",
        queues=tuple(queues),
        journal=Journal(2 * (settings.engine_batch_max + most) + 16, _NOTE_FIRST + _NOTE_EACH * most),
        supervisor=os.getpid(),
        notices=NoticePipe(),
        number=number,
        max_tasks=max_tasks,
        max_memory=max_memory,
        slots=slots[0],
        slots_max=most,
    )


class RunningShard:
    """A shard's process as its supervisor sees it."""

    def __init__(self, number: int, spec: ShardSpec, process: ChildProcess) -> None:
        self.number = number
        self.spec = spec
        self.process = process
        self.started_at = time.monotonic()
        #: Why the supervisor killed it, if it did: the reason kept with what must not start twice.
        self.killed_for: str | None = None
        #: Monotonic seconds at which it is asked again to stop; None: it is to go on.
        self.ask_at: float | None = None
        #: Leases that must not go back, each with its reason.
        self.condemned: dict[str, str] = {}
        #: Another has taken its place, and it is only finishing what it runs.
        self.retired = False
        #: The signal that was last sent to end its job, which may end the process or not.
        self.signalled = 0


class Supervisor:
    """Call ``start``, then ``tick`` every ``pause`` seconds until ``finished``."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        events: Events,
        *,
        node: str,
        queues: Sequence[str],
        count: int,
        launch: Callable[[ShardSpec], None],
        on_buried: Callable[[DeadLetter], None],
        max_tasks: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        """``launch`` runs a shard to its end, in a process of its own."""
        self.shards: dict[int, RunningShard] = {}
        self.queues = tuple(queues)
        self._broker = broker
        self._settings = settings
        self._events = events
        self._node = node
        self._launch = launch
        self._wear = (max_tasks, max_memory)
        self._renewer = Renewer(broker, settings, events)
        self._reaper = Reaper(broker, settings, events, on_buried)
        self._promoter = Promoter(broker)
        self._evictions: list[Eviction] = []
        self._terminations = Terminations()
        #: The numbers of the shards there are to be.
        self._wanted = set(range(1, count + 1))
        self._stopping = False
        self._start_at: dict[int, float] = {}
        self._pause: dict[int, float] = {}
        self._upkeep_at = 0.0
        self._give_up_at = 0.0
        self._outage = Outage(events)

    # -- What the worker calls

    def start(self) -> None:
        """Start all shards."""
        for number in sorted(self._wanted):
            self._start_shard(number)

    def tick(self) -> None:
        """Replace dead shards and do the upkeep that is due."""
        now = time.monotonic()
        self._kill_overdue(now)
        self._signal_terminated(now)
        self._replace_retired()
        for shard in [shard for shard in self.shards.values() if not shard.process.is_alive()]:
            self._bury_shard(shard, now)
        for shard in self.shards.values():
            shard.spec.notices.flush()
        self._ask_to_stop(now)
        if not self._stopping:
            for number in [number for number, at in self._start_at.items() if now >= at]:
                self._start_shard(number)
        if now >= self._upkeep_at:
            self._keep_up(now)

    @property
    def pause(self) -> float:
        """Seconds until something may be due; a dead shard waits no longer than this either."""
        if self._stopping:
            return _STOPPING_PAUSE
        # While the broker is away the next try counts, or this would go round in no time at all.
        next_upkeep = max(self._promoter.next, self._upkeep_at)
        return min(max(next_upkeep - time.monotonic(), 0.0), _PAUSE)

    @property
    def finished(self) -> bool:
        """Whether, after ``stop`` or ``kill``, nothing is left to wait for.

        For a broker that stays away it waits until the last shard's leases have run out.
        """
        if not self._stopping or self.shards:
            return False
        owed = self._evictions or self._reaper.unrecorded
        return not owed or time.monotonic() > self._give_up_at

    def stop(self) -> None:
        """Ask every shard to finish what it runs and give back the rest (warm)."""
        self._stopping = True
        self._ask_all_to_stop()

    def kill(self) -> None:
        """Kill every shard; what ran goes back, or, if it must not start twice, is buried (cold)."""
        self._stopping = True
        for shard in self.shards.values():
            shard.killed_for = _COLD_SHUTDOWN
            self._signal(shard, signal.SIGKILL)

    def notes(self) -> list[tuple[RunningShard, Note]]:
        """Return what each shard says of what it has been running for a moment."""
        return [(shard, note) for shard, note, entry in self._noted() if not entry.finished]

    def _noted(self) -> list[tuple[RunningShard, Note, Entry]]:
        """Return the same with the journal's entries, and what runs on though its end was announced."""
        found = []
        for shard in self.shards.values():
            entries = {entry.lease: entry for entry in shard.spec.journal.entries()}
            for note in read_notes(shard.spec.journal.read_note()):
                entry = entries.get(note.lease)
                if entry is not None and (entry.announced or not entry.finished):
                    found.append((shard, note, entry))
        return found

    def running(self) -> list[tuple[RunningShard, Entry]]:
        """Return what every shard is running now."""
        return [(shard, entry) for shard, entry in self._started() if not entry.finished]

    def _started(self) -> list[tuple[RunningShard, Entry]]:
        """Return the same, and what runs on though its end was announced."""
        return [
            (shard, entry)
            for shard in self.shards.values()
            for entry in shard.spec.journal.entries()
            if entry.announced or not entry.finished
        ]

    # -- What remote control asks for

    @property
    def count(self) -> int:
        """How many shards there are to be."""
        return len(self._wanted)

    @property
    def busy(self) -> int:
        """How many of them run something."""
        return len({shard.number for shard, _ in self.running()})

    def tell(self, notice: AnyNotice) -> None:
        """Let every shard know; those started later are forked from here and know what this process does."""
        for shard in self.shards.values():
            shard.spec.notices.send(notice)

    def consume(self, queues: Sequence[str]) -> None:
        """Claim from these queues, and these only, from now on; what has been claimed is run."""
        self.queues = tuple(queues)
        self.tell(Queues(self.queues))

    def resize(self, count: int) -> None:
        """Have ``count`` shards; those too many finish what they run, idle ones are chosen first."""
        while len(self._wanted) < count:
            self._want_one_more()
        busy = {shard.number for shard, _ in self.running()}
        by_use = sorted(self._wanted, key=lambda number: (number in busy, -number))
        for number in by_use[: len(self._wanted) - count]:
            self._wanted.discard(number)
            self._start_at.pop(number, None)
            if number in self.shards:
                self.shards[number].ask_at = 0.0
        self._ask_to_stop(time.monotonic())

    def restart(self) -> None:
        """Replace every shard once it has finished what it runs."""
        self._ask_all_to_stop()

    def terminate(self, ids: Iterable[str], signum: int = signal.SIGTERM) -> None:
        """Send the signal to the shards that run these jobs; the messages leave for good.

        If a shard dies of it, another takes its place.
        """
        now = time.monotonic()
        self._terminations.want(ids, signum, now)
        self._signal_terminated(now)

    # -- Shards

    def _want_one_more(self) -> None:
        taken = self._wanted | self.shards.keys()
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        self._wanted.add(number)
        self._start_at[number] = 0.0

    def _new_spec(self, number: int) -> ShardSpec:
        return new_spec(f"Shard-{number}", self._node, self.queues, self._settings, *self._wear, number)

    def _start_shard(self, number: int) -> None:
        self._start_at.pop(number, None)
        spec = self._new_spec(number)
        self._events.emit(ShardStarting(shard=spec.name))
        self._broker.close()  # a connection must not be shared with the child
        process = ChildProcess(spec.name, partial(self._launch, spec))
        spec.notices.shard_started()
        self.shards[number] = RunningShard(number, spec, process)
        self._events.emit(ShardStarted(shard=spec.name, pid=process.pid))

    def _bury_shard(self, shard: RunningShard, now: float) -> None:
        process, spec = shard.process, shard.spec
        exitcode, pid = process.exitcode or 0, process.pid
        del self.shards[shard.number]
        deliberate = shard.killed_for is not None
        self._evictions.append(
            spec.journal.eviction(
                spec.owner,
                reason=shard.killed_for or _WORKER_LOST,
                counted=not deliberate,
                condemned=shard.condemned,
            )
        )
        spec.notices.close()
        spec.journal.close()
        self._upkeep_at = 0.0
        self._give_up_at = now + self._settings.engine_lease_seconds
        asked = shard.ask_at is not None and exitcode == -signal.SIGTERM
        # A handler that raises SystemExit has the process end with the signal's number.
        signalled = shard.signalled and exitcode in (shard.signalled, -shard.signalled)
        expected = bool(deliberate or asked or signalled or exitcode == 0)
        self._events.emit(ShardStopped(shard=spec.name, pid=pid, exitcode=exitcode, expected=expected))
        if not self._stopping and shard.number in self._wanted:
            self._start_at[shard.number] = now + self._pause_before_restart(shard, expected, now)

    def _pause_before_restart(self, shard: RunningShard, expected: bool, now: float) -> float:
        if expected or now - shard.started_at > _SHORT_LIFE:
            self._pause.pop(shard.number, None)
            return 0.0
        pause = self._pause.get(shard.number, 0.0)
        self._pause[shard.number] = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return pause

    def _kill_overdue(self, now: float) -> None:
        for shard, entry in self._started():
            if entry.deadline and now > entry.deadline and shard.killed_for in (None, _ANOTHER_OVERDUE):
                shard.killed_for = _ANOTHER_OVERDUE
                shard.condemned[entry.lease] = TIME_LIMIT
                self._signal(shard, signal.SIGKILL)

    def _replace_retired(self) -> None:
        for shard in list(self.shards.values()):
            if not shard.retired and shard.spec.journal.retired:
                shard.retired = True
                if shard.number in self._wanted and not self._stopping:
                    self._wanted.discard(shard.number)
                    self._want_one_more()

    def _signal_terminated(self, now: float) -> None:
        wanted = self._terminations.wanted(now)
        if not wanted:
            return
        for shard, note, entry in self._noted():
            wish = wanted.get(note.id)
            if wish is None or shard.killed_for is not None:
                continue
            shard.signalled = wish.signum
            if wish.falls_to_supervisor(now):
                self._end_with_signal(shard, wish)
            elif entry.announced:
                self._terminations.done(wish)
            else:
                wish.ask(shard.spec.notices, now)

    def _end_with_signal(self, shard: RunningShard, wish: Wish) -> None:
        pid = shard.process.pid
        if not hold_still(pid):
            return
        found = [note.lease for one, note, _ in self._noted() if one is shard and note.id == wish.id]
        if found and wish.signum == signal.SIGKILL:
            shard.killed_for = _WORKER_LOST
            os.kill(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGCONT)
        if found:
            shard.condemned[found[0]] = TERMINATED
            shard.spec.journal.expect_signal(wish.signum)
            # Sent to a process that stands still it might wake another thread than the body's.
            os.kill(pid, wish.signum)
            self._terminations.done(wish)

    def _ask_all_to_stop(self) -> None:
        for shard in self.shards.values():
            shard.ask_at = 0.0
        self._ask_to_stop(time.monotonic())

    def _ask_to_stop(self, now: float) -> None:
        for shard in self.shards.values():
            if shard.ask_at is not None and now >= shard.ask_at:
                shard.ask_at = now + _ASK_EVERY
                self._signal(shard, signal.SIGTERM)

    def _signal(self, shard: RunningShard, number: signal.Signals) -> None:
        if shard.process.is_alive():
            os.kill(shard.process.pid, number)

    # -- Upkeep

    def _keep_up(self, now: float) -> None:
        try:
            self._renewer.tick(now, [shard.spec.owner for shard in self.shards.values()])
            while self._evictions:
                self._reaper.evict(self._evictions[0])
                self._evictions.pop(0)
            self._reaper.tick(now)
            self._promoter.tick(now, time.time())
        except BrokerUnavailable as error:
            self._upkeep_at = now + self._outage.fails(error)
            self._reaper.hold_off(now)
        else:
            self._outage.works()
