"""A shard: claims a batch, runs it, settles it, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.core.executor import Executor
from celeriac.core.layer import Layer
from celeriac.core.lease import Lease
from celeriac.core.settings import Settings
from celeriac.engine.batch import BatchSize
from celeriac.engine.journal import Journal
from celeriac.engine.keeper import Keeper, is_orphan
from celeriac.engine.notices import AnyNotice, NoticePipe, Queues, Terminate
from celeriac.engine.outage import Outage
from celeriac.engine.queue_order import queue_order
from celeriac.engine.run import Runner
from celeriac.engine.settle import Settler
from celeriac.engine.terminate import Announcing
from celeriac.engine.wear import Wear

__all__ = ["Shard", "ShardSpec"]

#: Seconds between an idle shard's looks at whether it is still wanted.
_IDLE_WAIT = 1.0


class ShardSpec(msgspec.Struct, frozen=True):
    """What the supervisor decides about a shard before it exists."""

    name: str
    #: Unique for every process that ever claims; its leases are found by it.
    owner: str
    queues: Sequence[str]
    journal: Journal
    #: The process id of the supervisor; the shard's own for one that is its own supervisor.
    supervisor: int
    #: What the supervisor tells it while it runs.
    notices: NoticePipe
    #: From 1; a shard that replaces another has the same.
    number: int = 0
    #: Deliveries after which the process makes room for a fresh one; None: never.
    max_tasks: int | None = None
    #: KiB of resident memory after which it does so too; None: never.
    max_memory: int | None = None
    #: Deliveries it may run at a time, and how many it can ever be told to.
    slots: int = 1
    slots_max: int = 1


class _StopWaiting(BaseException):
    """Raised in a signal handler to leave a wait at once."""


class Shard:
    """Runs until ``stop``; then everything it claimed is settled or given back."""

    def __init__(
        self,
        spec: ShardSpec,
        broker: Broker,
        executor: Executor,
        settings: Settings,
        events: Events,
        layers: Sequence[Layer] = (),
        heed: Callable[[AnyNotice], None] | None = None,
    ) -> None:
        """``heed`` gets the notices that concern jobs, in either of the shard's threads."""
        self._spec = spec
        self._broker = broker
        self._settings = settings
        self._executor = executor
        self._runner = Runner(executor, spec.journal, layers)
        self._size = BatchSize(settings.engine_batch_seconds, settings.engine_batch_max)
        self._settler = Settler(broker, executor, spec.journal, events, settings.engine_settle_seconds)
        self._keeper = self._make_keeper()
        self._queues = tuple(spec.queues)
        self._heed_other = heed
        self._heeding = threading.Lock()
        self._stopping = False
        self._waiting = False
        self._order = queue_order(spec.queues, settings)
        self._wear = Wear(spec.max_tasks, spec.max_memory)
        self._outage = Outage(events)

    def _make_keeper(self) -> Keeper:
        return self._keeper_kind()(
            self._broker,
            self._settler,
            self._settings,
            owner=self._spec.owner,
            supervisor=self._spec.supervisor,
            on_orphaned=self._stop_soon,
            on_slow=self._on_slow,
        )

    def _keeper_kind(self) -> Callable[..., Keeper]:
        return Keeper

    def run(self) -> None:
        """Work until stopped, orphaned or worn out; then settle and give back."""
        self.open()
        try:
            while self.wanted:
                self.work(_IDLE_WAIT)
        finally:
            self.close()

    def open(self) -> None:
        """Make ready for ``work``."""
        self._keeper.start()

    @property
    def wanted(self) -> bool:
        """Whether another batch may be claimed."""
        return not (self._stopping or self._wear.out or is_orphan(self._spec.supervisor))

    def work(self, idle_wait: float) -> None:
        """Claim and run one batch; or wait up to ``idle_wait`` seconds for one to arrive."""
        try:
            self._work(idle_wait)
        except _StopWaiting:
            return

    def _work(self, idle_wait: float) -> None:
        try:
            self._keeper.give_back()
            leases = self._settler.claim(
                self._order.next(),
                self._size.current,
                self._spec.owner,
                self._settings.engine_lease_seconds,
            )
            self._order.claimed(leases)
            self._heed()  # only now: what was told before a message was sent holds for that message
            if leases:
                self._run_batch(leases)
            else:
                self._wait(partial(self._broker.wait, self._queues, idle_wait))
            self._outage.works()
        except BrokerUnavailable as error:
            self._wait(partial(time.sleep, self._outage.fails(error)))

    def stop(self) -> None:
        """Finish the running delivery and claim no more; safe in a signal handler."""
        self._stop_soon()
        if self._waiting:
            self._waiting = False
            raise _StopWaiting

    def close(self) -> None:
        """Settle what has finished and give back the rest, trying for as long as a lease holds."""
        self._keeper.close()
        give_up = time.monotonic() + self._settings.engine_lease_seconds
        while True:
            try:
                self._keeper.give_back()
                self._settler.settle()
                return
            except BrokerUnavailable as error:
                if time.monotonic() > give_up:
                    return  # the leases run out by themselves, and the messages go back
                time.sleep(self._outage.fails(error))

    def _run_batch(self, leases: Sequence[Lease]) -> None:
        begun = time.monotonic()
        self._settler.due = begun + self._settings.engine_settle_seconds
        self._keeper.unstarted.extend(leases)
        self._keeper.batch_begins()
        try:
            ran = self._run_unstarted(begun + self._settings.engine_giveback_seconds)
        finally:
            self._keeper.batch_ended()
        self._size.learn(ran, time.monotonic() - begun)

    def _run_unstarted(self, overdue: float) -> int:
        keeper, settler, wear, run = self._keeper, self._settler, self._wear, self._runner.run
        unstarted, ran = keeper.unstarted, 0
        while not self._stopping and not wear.out:
            try:
                if unstarted[0].deliveries > 1:
                    settler.settle()  # it may kill this process: nothing finished is to die with it
                lease = unstarted.popleft()
            except IndexError:
                break  # all have run, or the keeper has given the rest back
            try:
                settler.add(run(lease))
            except BrokerUnavailable:
                unstarted.appendleft(lease)  # it could not even be decoded
                raise
            ran += 1
            wear.ran += 1
            keeper.running_since = now = time.monotonic()
            if now >= settler.due and unstarted:  # what ends a batch is settled with the next claim
                settler.settle()
                if now >= overdue:
                    keeper.give_back()  # they take longer than those by which the batch was sized
        return ran

    def _on_slow(self) -> None:
        self._heed()
        self._runner.tell()
        self._settler.flush()

    def _heed(self) -> None:
        with self._heeding:  # what one thread has read is heeded before the other starts a task
            for notice in self._spec.notices.read():
                self._do_as(notice)

    def _do_as(self, notice: AnyNotice) -> None:
        if isinstance(notice, Queues):
            self._queues = tuple(notice.names)
            self._order = queue_order(self._queues, self._settings)
        elif isinstance(notice, Terminate):
            self._end_running(notice)
        elif self._heed_other is not None:
            self._heed_other(notice)

    def _end_running(self, notice: Terminate) -> None:
        """Tell others that the running job is terminated, if it is meant; then signal its thread."""
        running = self._runner.running
        if running is None or running[1].id not in notice.ids or not isinstance(self._executor, Announcing):
            return
        try:
            self._executor.announce_terminated(running[1], notice.signum)
        except Exception:  # whatever keeps it from being recorded; the supervisor tries if the process dies
            return
        with self._settler.lock:
            self._runner.end_announced(running, notice.signum)

    def _wait(self, wait: Callable[[], object]) -> None:
        try:
            self._waiting = True
            if not self._stopping:
                wait()
        finally:
            self._waiting = False

    def _stop_soon(self) -> None:
        self._stopping = True
