"""What a page looks like in Chromium, with its scripts run."""

from __future__ import annotations

import re
import subprocess
import tempfile
from html import unescape
from pathlib import Path

from tests.servers import require

#: Milliseconds that pass in the page, however long they take, before it is looked at.
_PAGE_TIME = 4000


def page_text(url: str) -> str:
    """The words on the page as its scripts have made it, hidden ones too, a space between any two."""
    html = _chromium("--dump-dom", url)
    body = re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", html.partition("<body")[2])
    return " ".join(unescape(body).split())


def screenshot(url: str, file: Path, width: int, height: int) -> None:
    """The file holds a picture of the page."""
    _chromium(f"--screenshot={file}", f"--window-size={width},{height}", "--hide-scrollbars", url)


def _chromium(*arguments: str) -> str:
    program = require("chromium", "apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="celeriac-browser-") as profile:
        place = [f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking"]
        # Without the sandbox, as root and containers have none; it only sees pages of ours.
        safe = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        done = subprocess.run(
            [program, *safe, *place, f"--virtual-time-budget={_PAGE_TIME}", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout
