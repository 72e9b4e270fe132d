"""Fills in docs/guarantees.md: ``python -m tests.guarantees``."""

from __future__ import annotations

from tests.guarantees.page import DOCUMENT, filled_in
from tests.guarantees.runs import Runs

DOCUMENT.write_text(filled_in(DOCUMENT.read_text(), Runs.read()))
