"""The promises that outlive a process, tested by killing one at every step and at random instants.

Subclass it in a test module::

    class TestMyBrokerCrashes(CrashContract):
        factory = "mypackage.brokers:open_broker"

        @pytest.fixture
        def address(self, tmp_path):
            return str(tmp_path / "store")
"""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from celeriac.core.broker import Broker
from celeriac.testing import victim
from celeriac.testing.envelope import message, name_of
from celeriac.testing.ledger import Ledger
from celeriac.testing.victim import LONG, MANY, QUEUE, STEPS, opened

__all__ = ["CrashContract"]

#: Seconds after which a process that should have answered is taken to hang.
SOON = 30.0
#: How often two victims are killed at a random instant, and within how many seconds.
KILLS = 16
INSTANT = 0.05

# A server that has imported everything once starts each victim in milliseconds, and shares nothing
# with the process of the tests: a victim is as alone as a worker.
_processes = get_context("forkserver")
_processes.set_forkserver_preload([victim.__name__])


class CrashContract:
    """No message is lost or doubled, wherever a process dies; for brokers that are persistent and shared.

    What was accepted and what was ended is judged by a ledger outside the broker.
    """

    #: ``module:function`` that opens the broker at an address; victims import it.
    factory: str

    @pytest.fixture
    def address(self) -> str:
        """What to call the factory with; a store without messages, new for each test."""
        raise NotImplementedError("define a fixture 'address' that returns the factory's argument")

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        with closing(Ledger(tmp_path / "ledger")) as ledger:
            yield ledger

    @pytest.mark.parametrize("step", STEPS)
    def test_a_process_may_die_between_any_two_steps(self, address: str, ledger: Ledger, step: str) -> None:
        with self._victim(victim.run_steps, address, ledger, step) as process:
            process.kill()
            process.join()
        with closing(opened(self.factory, address)) as broker:
            _judge(broker, ledger)

    def test_processes_may_die_at_any_instant(self, address: str, ledger: Ledger) -> None:
        random = Random(20)
        for seed in range(KILLS):
            with (
                self._victim(victim.run_at_random, address, ledger, 2 * seed) as first,
                self._victim(victim.run_at_random, address, ledger, 2 * seed + 1) as second,
            ):
                time.sleep(random.uniform(0, INSTANT))
                first.kill()
                second.kill()
            with closing(opened(self.factory, address)) as broker:
                broker.reap(time.time() + 9 * LONG, max_deliveries=MANY)
                stats = broker.stats([QUEUE])[QUEUE]
                assert stats.leased == 0
                total = stats.ready + stats.delayed + stats.dead
                certain, possible = ledger.judged()
                assert len(certain) <= total <= len(certain) + len(possible)
        with closing(opened(self.factory, address)) as broker:
            _judge(broker, ledger)

    def test_no_two_processes_run_the_same_message(self, address: str, ledger: Ledger) -> None:
        sent = [f"{number}" for number in range(1500)]
        with closing(opened(self.factory, address)) as broker:
            broker.send([message(name, QUEUE) for name in sent])
            with (
                self._victim(victim.drain, address, ledger, 1) as first,
                self._victim(victim.drain, address, ledger, 2) as second,
                self._victim(victim.drain, address, ledger, 3) as third,
            ):
                for process in (first, second, third):
                    process.join(SOON)
                    assert process.exitcode == 0
            ran = Counter((word, name) for _, word, name in ledger.read())
            assert ran == Counter(("ran", name) for name in sent)
            assert _total(broker) == 0

    @contextmanager
    def _victim(
        self, run: Callable[..., None], address: str, ledger: Ledger, how: Any
    ) -> Iterator[ForkServerProcess]:
        """A process that has begun, or has reached the step it was asked to stop at; killed in the end."""
        ready, theirs = _processes.Pipe(duplex=False)
        process = _processes.Process(
            target=run, args=(self.factory, address, ledger.path, how, theirs), daemon=True
        )
        process.start()
        theirs.close()
        try:
            assert ready.poll(SOON), "the process did not get there"
            ready.recv()
            yield process
        finally:
            process.kill()
            process.join()
            ready.close()


def _total(broker: Broker) -> int:
    stats = broker.stats([QUEUE])[QUEUE]
    return stats.ready + stats.leased + stats.delayed + stats.dead


def _judge(broker: Broker, ledger: Ledger) -> None:
    """Reap, run every message to its end, and find each accepted one exactly once."""
    total = _total(broker)
    found = Counter(_run_all(broker))
    certain, possible = ledger.judged()
    assert set(found.values()) <= {1}, "a message was in two states"
    assert certain <= found.keys(), "a message was lost"
    assert found.keys() <= certain | possible, "a message came back from the done"
    assert total == len(found), "a message was in no state, or in two"
    assert _total(broker) == 0


def _run_all(broker: Broker) -> Iterator[str]:
    broker.reap(time.time() + 9 * LONG, max_deliveries=MANY)
    while broker.promote_due(time.time() + 9 * LONG).count:
        pass
    while broker.retry_dead([letter.id for letter in broker.dead_letters()]):
        pass
    while leases := broker.claim([QUEUE], 50, owner="judge", lease_for=LONG).leases:
        yield from (name_of(lease.message.payload) for lease in leases)
        assert not broker.ack(leases)
