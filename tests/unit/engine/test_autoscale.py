"""As many shards as there is work for, on a real supervisor whose shards only sleep."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.core.settings import Settings
from celeriac.engine.autoscale import Autoscaler
from celeriac.engine.shard import ShardSpec
from celeriac.engine.supervisor import Supervisor
from tests.unit.engine.flaky_broker import FlakyBroker
from tests.unit.engine.plain import call


def sleep(_spec: ShardSpec) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pause()


class Scaled:
    """Two to five shards; ``look`` is one look at the backlog, a second after the last."""

    def __init__(self) -> None:
        self.broker = FlakyBroker(MemoryBroker())
        self.supervisor = Supervisor(
            self.broker,
            Settings(),
            Events(),
            node="node",
            queues=["q"],
            count=2,
            launch=sleep,
            on_buried=lambda _: None,
        )
        self.scaler = Autoscaler(self.supervisor, self.broker, 5, 2, keepalive=10)
        self.now = 100.0

    def look(self, backlog: int) -> int:
        """Return how many shards there are to be once so many messages wait."""
        self.broker.purge(["q"])
        self.broker.send([call("job")] * backlog)
        self.now += 1
        self.scaler.tick(self.now)
        return self.supervisor.count


@pytest.fixture
def scaled() -> Iterator[Scaled]:
    scaled = Scaled()
    yield scaled
    scaled.supervisor.kill()
    while not scaled.supervisor.finished:
        scaled.supervisor.tick()


def test_doubles_while_messages_wait_up_to_the_most(scaled: Scaled) -> None:
    assert [scaled.look(backlog=100) for _ in range(3)] == [4, 5, 5]
    assert scaled.scaler.info() == {"max": 5, "min": 2, "current": 5, "qty": 100}


def test_starts_no_more_than_there_are_messages(scaled: Scaled) -> None:
    assert scaled.look(backlog=3) == 4
    assert scaled.look(backlog=1) == 4


def test_shrinks_one_by_one_after_a_quiet_time(scaled: Scaled) -> None:
    for _ in range(3):
        scaled.look(backlog=100)
    assert [scaled.look(backlog=0) for _ in range(14)] == [5] * 10 + [4, 3, 2, 2]


def test_new_bounds_hold_at_once(scaled: Scaled) -> None:
    assert scaled.scaler.update(max=8, min=4) == (8, 4)
    assert scaled.supervisor.count == 4
    assert scaled.scaler.update(max=3, min=1) == (3, 1)
    assert scaled.supervisor.count == 3


def test_changes_nothing_while_the_broker_is_away(scaled: Scaled) -> None:
    scaled.broker.away = True
    with pytest.raises(BrokerUnavailable):
        scaled.broker.stats(["q"])
    scaled.now += 1
    scaled.scaler.tick(scaled.now)
    assert scaled.supervisor.count == 2
