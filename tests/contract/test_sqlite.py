"""SqliteBroker keeps the contract, and what only it promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.testing import BrokerContract, CrashContract


class TestSqlite(BrokerContract):
    @pytest.fixture
    def broker(self, tmp_path: Path) -> Iterator[SqliteBroker]:
        self.path = tmp_path / "queue.db"
        broker = SqliteBroker(self.path)
        yield broker
        broker.close()

    def reopen(self) -> SqliteBroker:
        return SqliteBroker(self.path)

    def unreachable(self) -> SqliteBroker:
        return SqliteBroker(self.path.parent / "no such folder" / "queue.db")


class TestSqliteCrashes(CrashContract):
    factory = "celeriac.brokers.sqlite:SqliteBroker"

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "queue.db")
