"""The admin as a browser shows it."""

from __future__ import annotations

from pathlib import Path

from tests.browser import page_text
from tests.django_project.screenshot import admin


def test_a_browser_shows_failed_tasks_and_what_can_be_done(tmp_path: Path) -> None:
    with admin(tmp_path) as url:
        text = page_text(f"{url}/taskrecord/")
    assert "Run the selected failed tasks again" in text
    assert "parcels.jobs.sometimes" in text
    assert "ConnectionError" in text
    assert "secret" not in text
