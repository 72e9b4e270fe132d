"""The process that the crash contract kills: it uses a broker and keeps a ledger of what it did."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from random import Random

from celeriac.core.broker import Broker
from celeriac.core.lease import Eviction, Lease
from celeriac.testing.envelope import message, name_of
from celeriac.testing.ledger import Ledger

__all__ = ["LONG", "QUEUE", "STEPS", "Victim", "drain", "opened", "run_at_random", "run_steps"]

QUEUE = "crash"
#: Seconds that no test lasts: leases are taken and messages delayed for so long.
LONG = 1000.0
#: More deliveries than any message gets here.
MANY = 1_000_000


def opened(factory: str, address: str) -> Broker:
    """Return the broker that the function named ``module:function`` opens for the address."""
    broker: Broker = resolve_name(factory)(address)
    return broker


class Victim:
    """Uses each verb once, one step after the other, or at random without end."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self.broker = broker
        self.ledger = ledger
        self.owner = f"victim {os.getpid()}"
        self.held: list[Lease] = []
        self._numbers = count(1)

    def send(self, n: int = 6) -> None:
        names = [f"{os.getpid()}-{next(self._numbers)}" for _ in range(n)]
        self.ledger.write("sending", names)
        self.broker.send([message(name, QUEUE) for name in names])
        self.ledger.write("sent", names)

    def claim(self, n: int = 5) -> None:
        self.held += self.broker.claim([QUEUE], n, owner=self.owner, lease_for=LONG).leases

    def claim_and_ack(self, n: int = 2) -> None:
        leases = self._take(n)
        self.ledger.write("ending", _names(leases))
        claimed = self.broker.claim([QUEUE], n, owner=self.owner, lease_for=LONG, ack=leases)
        self._ended(leases, claimed.lost)
        self.held += claimed.leases

    def renew(self) -> None:
        self.broker.renew([self.owner], 5 * LONG)

    def ack(self, n: int = 1) -> None:
        leases = self._take(n)
        self.ledger.write("ending", _names(leases))
        self._ended(leases, self.broker.ack(leases))

    def release(self, n: int = 1) -> None:
        self.broker.release(self._take(n))

    def delay(self, n: int = 1) -> None:
        self.broker.delay([(lease, time.time() + LONG) for lease in self._take(n)])

    def bury(self, n: int = 1) -> None:
        self.broker.bury([(lease, "a reason") for lease in self._take(n)])

    def promote_due(self) -> None:
        self.broker.promote_due(time.time() + 2 * LONG)

    def retry_dead(self) -> None:
        self.broker.retry_dead([letter.id for letter in self.broker.dead_letters(limit=5)])

    def evict(self) -> None:
        """Be taken for dead, with the oldest lease interrupted and the next one forfeited."""
        ids = [lease.id for lease in self.held]
        eviction = Eviction(
            owner=self.owner,
            interrupted=frozenset(ids[:1]),
            forfeited=dict.fromkeys(ids[1:2], "must not run twice"),
        )
        self.broker.evict(eviction, max_deliveries=MANY)

    def reap(self) -> None:
        self.broker.reap(time.time() + 9 * LONG, max_deliveries=MANY)

    def _take(self, n: int) -> list[Lease]:
        """Some of the leases, from both ends."""
        taken, self.held = self.held[:n], self.held[n:]
        self.held.reverse()
        return taken

    def _ended(self, leases: Sequence[Lease], lost: Sequence[Lease]) -> None:
        # In this order: of two leases of one message, the lost one must not have the last word.
        self.ledger.write("ended", _names([lease for lease in leases if lease not in lost]))
        self.ledger.write("kept", _names(lost))


#: What a victim does in turn; it is killed after each of them.
STEPS: dict[str, Callable[[Victim], None]] = {
    "send": Victim.send,
    "claim": Victim.claim,
    "renew": Victim.renew,
    "ack": Victim.ack,
    "delay": Victim.delay,
    "bury": Victim.bury,
    "release": Victim.release,
    "claim and ack": Victim.claim_and_ack,
    "promote": Victim.promote_due,
    "evict": Victim.evict,
    "retry": Victim.retry_dead,
    "claim again": Victim.claim,
    "reap": Victim.reap,
    "claim a suspect": Victim.claim,
    "ack the rest": lambda victim: victim.ack(100),
}


def run_steps(factory: str, address: str, ledger: Path, last: str, ready: Connection) -> None:
    """Take all steps up to and with ``last``, say so, and wait to be killed."""
    victim = Victim(opened(factory, address), Ledger(ledger))
    for name, step in STEPS.items():
        step(victim)
        if name == last:
            ready.send(name)
            signal.pause()


def run_at_random(factory: str, address: str, ledger: Path, seed: int, ready: Connection) -> None:
    """Take steps at random until killed."""
    victim = Victim(opened(factory, address), Ledger(ledger))
    random = Random(seed)
    steps = list(STEPS.values())
    victim.send()
    ready.send("started")
    while True:
        random.choice(steps)(victim)


def drain(factory: str, address: str, ledger: Path, seed: int, ready: Connection) -> None:
    """Run all messages, in batches of many sizes, writing down each."""
    broker, book = opened(factory, address), Ledger(ledger)
    random = Random(seed)
    batch: Sequence[Lease] = ()
    ready.send("started")
    while True:
        claimed = broker.claim([QUEUE], random.randint(1, 20), owner=f"{seed}", lease_for=LONG, ack=batch)
        book.write("lost", _names(claimed.lost))
        if not (batch := claimed.leases):
            return
        book.write("ran", _names(batch))


def _names(leases: Sequence[Lease]) -> list[str]:
    return [name_of(lease.message.payload) for lease in leases]
