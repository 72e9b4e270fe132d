"""Every id of a check stands in the guide, and the guide names no other."""

from __future__ import annotations

import re

from tests.workers import ROOT

_ID = re.compile(r"celeriac\.[EWI]\d{3}")


def test_the_guide_lists_every_check() -> None:
    source = "".join(file.read_text() for file in (ROOT / "src" / "celeriac").rglob("*.py"))
    guide = (ROOT / "docs" / "howto" / "django.md").read_text()
    ids = _ID.findall(guide)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(_ID.findall(source))
