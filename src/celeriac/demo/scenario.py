"""What the demo does, step by step."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from celeriac.core.errors import ConfigurationError
from celeriac.demo.ledger import Figures, Kill, Ledger
from celeriac.demo.orders_import import ROLLBACK_EVERY, BadRow, ImportReport, OrdersImport
from celeriac.demo.processes import BackgroundProcess, Worker
from celeriac.demo.project import Site
from celeriac.demo.view import View
from celeriac.demo.watch import Stalled, Watch

__all__ = ["Outcome", "Plan", "Scenario"]

#: With kills, the import takes at least so many seconds: a small one would be over before the second.
_IMPORT_SECONDS = 6
#: Seconds that the second kill waits, at most, for the recovery from the first.
_PATIENCE = 10


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    orders: Path
    shards: int = 2
    #: Rows to read at most.
    limit: int | None = None
    kill: bool = True
    #: Seconds without any progress after which what is left counts as lost.
    stalled_after: float = 30.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    figures: Figures
    #: Seconds from the kill until all was well; None: nothing was killed, or all was never well.
    import_recovery: float | None
    shard_recovery: float | None
    worker_recovery: float | None
    bad_rows: list[BadRow]
    #: Seconds from the first step to the last.
    seconds: float


class Scenario:
    """One run: orders come in, a worker ships them and is killed on the way, the ledger is read."""

    def __init__(self, plan: Plan, site: Site, view: View) -> None:
        self._plan = plan
        self._site = site
        self._view = view
        self._worker = Worker(site, plan.shards)

    def run(self) -> Outcome:
        """All steps are done, and no process is left."""
        began = time.monotonic()
        found = self._prepare()
        orders_import = self._orders_import(found)
        with ExitStack() as stack:
            ledger = stack.enter_context(closing(Ledger(self._site.database)))
            stack.callback(self._worker.kill)
            stack.callback(orders_import.kill)
            watch = Watch(
                ledger, self._site.broker, self._worker, orders_import, self._view, self._plan.stalled_after
            )
            self._begin(orders_import)
            try:
                if self._plan.kill:
                    self._kill_the_import(watch, ledger, orders_import, found.total)
                    self._kill_a_shard(watch, ledger, found.expected)
                    self._kill_the_worker(watch, found.expected)
                watch.until(watch.all_shipped)
                watch.until(watch.drained)
            except Stalled:
                self._view.say(f"nothing has moved for {self._plan.stalled_after:g} s: giving up the rest")
            self._end(watch)
            return Outcome(
                figures=ledger.figures(),
                import_recovery=watch.recovery.get("import"),
                shard_recovery=watch.recovery.get("shard"),
                worker_recovery=watch.recovery.get("worker"),
                bad_rows=found.bad_rows,
                seconds=time.monotonic() - began,
            )

    def _prepare(self) -> ImportReport:
        """The file has been checked and the tables exist."""
        check = OrdersImport(
            self._site, "check of the orders", self._plan.orders, self._plan.limit, "--check"
        )
        migration = BackgroundProcess(self._site, "migration", self._site.manage("migrate"))
        with ExitStack() as stack:
            for process in (check, migration):
                stack.callback(process.kill)
                process.start()
            check.wait()
            found = check.report()
            if migration.wait():
                raise migration.failure()
        if not (found.total or found.bad_rows):
            raise ConfigurationError(f"{self._plan.orders} holds no orders: add a row, or leave --orders out")
        self._view.say(f"{found.total} orders to import, rows left out: {len(found.bad_rows)}")
        self._view.expect(imported=found.total, shipped=found.expected)
        return found

    def _orders_import(self, found: ImportReport) -> OrdersImport:
        options = ["--rollback-every", str(ROLLBACK_EVERY), "--resume"]
        if self._plan.kill:
            options += ["--per-second", str(max(1, found.total // _IMPORT_SECONDS))]
        return OrdersImport(self._site, "import", self._plan.orders, self._plan.limit, *options)

    def _begin(self, orders_import: OrdersImport) -> None:
        """The worker is ready and orders begin to come in."""
        self._worker.start()
        self._worker.wait_until_ready()
        self._view.say(f"worker {self._worker.pid} is ready, with {self._plan.shards} shards")
        orders_import.start()

    def _kill_the_import(self, watch: Watch, ledger: Ledger, orders_import: OrdersImport, total: int) -> None:
        """At a sixth, the import is gone right after a commit, its call not sent; another one goes on."""
        watch.until(lambda: watch.counts.imported >= total / 6 or watch.import_ended)
        watch.until(lambda: _is_paused_before_it_sends(orders_import, ledger) or watch.import_ended)
        if watch.import_ended:
            return
        killed = orders_import.pid
        left = ledger.unsent()
        kill = Kill(at=time.time(), pids=frozenset({killed}), unsent=left[-1])
        orders_import.kill()
        watch.killed("import", kill)
        orders_import.start()
        self._view.say(f"import {killed} killed (SIGKILL) after a commit, calls not sent yet: {len(left)}")
        self._view.say(f"import {orders_import.pid} goes on")

    def _kill_a_shard(self, watch: Watch, ledger: Ledger, expected: int) -> None:
        """At a third, a process that runs tasks is gone without a word."""
        watch.until(lambda: watch.counts.shipped >= expected / 3 or watch.all_shipped())
        processes = self._worker.processes()
        shard = ledger.last_starter(processes - {self._worker.pid})
        if shard is None or watch.all_shipped():
            return
        kill = Kill(at=time.time(), pids=processes)
        os.kill(shard, signal.SIGKILL)
        watch.killed("shard", kill)
        self._view.say(f"shard {shard} killed (SIGKILL), {watch.counts.shipped} orders shipped")

    def _kill_the_worker(self, watch: Watch, expected: int) -> None:
        """At two thirds, the worker and all its processes are gone, and another is started."""
        watch.until(lambda: watch.counts.shipped >= expected * 2 / 3 or watch.all_shipped())
        patience_ends = time.monotonic() + _PATIENCE
        watch.until(
            lambda: "shard" in watch.recovery or time.monotonic() > patience_ends or watch.all_shipped()
        )
        if watch.all_shipped():
            return
        killed, processes = self._worker.pid, self._worker.processes()
        kill = Kill(at=time.time(), pids=processes)
        self._worker.kill()
        watch.killed("worker", kill)
        self._worker.start()
        self._view.say(f"worker {killed} and all its shards killed, {watch.counts.shipped} orders shipped")
        self._view.say(f"worker {self._worker.pid} started")

    def _end(self, watch: Watch) -> None:
        """The worker has been told to finish, and has."""
        watch.look_for_recovery()
        if not self._worker.stop():
            self._view.say("the worker did not stop when told to, and was killed")


def _is_paused_before_it_sends(orders_import: OrdersImport, ledger: Ledger) -> bool:
    """Return whether the import stands still between a commit and the sending of its call."""
    orders_import.pause()
    if ledger.unsent():
        return True
    orders_import.resume()
    return False
