"""Statements whose values come in order have no numbered placeholders, which sqlite3 refuses from 3.14 on."""

from __future__ import annotations

import re

import pytest

from celeriac.brokers.sqlite_file import SQL as BROKERS
from celeriac.limits.sqlite_store import SQL as LIMITS


@pytest.mark.parametrize("statement", [*BROKERS.values(), *LIMITS.values()], ids=[*BROKERS, *LIMITS])
def test_values_come_in_order(statement: str) -> None:
    assert not re.search(r"\?\d|[:@$][a-z]", statement)
