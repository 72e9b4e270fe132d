"""Writes docs/compatibility.md, or says what keeps it from being written."""

from __future__ import annotations

import sys

from tests.compatibility.page import ROOT, Page

page = Page.read()
if found := page.mistakes():
    sys.exit("\n".join(found))
(ROOT / "docs" / "compatibility.md").write_text(page.text())
