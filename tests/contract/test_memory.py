"""MemoryBroker keeps the contract, and what only it promises."""

from __future__ import annotations

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.testing import BrokerContract


class TestMemory(BrokerContract):
    @pytest.fixture
    def broker(self) -> MemoryBroker:
        return MemoryBroker()
