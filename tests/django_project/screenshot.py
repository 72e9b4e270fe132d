"""`python -m tests.django_project.screenshot`: a picture of Django's admin with tasks of all kinds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.browser import screenshot
from tests.django_project.site import DjangoSite
from tests.servers import free_port, wait_until
from tests.workers import ROOT

PICTURE = ROOT / "docs" / "images" / "admin-task-records.png"
#: In points.
WIDTH, HEIGHT = 1640, 620
_CALLS = (
    "from django.contrib.auth.models import User",
    "from celeriac.django.test import keep_published",
    "from parcels import jobs",
    "User.objects.create_superuser('root')",
    "with keep_published() as tasks:",
    "    jobs.weigh.enqueue(7), jobs.weigh.enqueue(12), jobs.sometimes.enqueue('no such depot')",
    "    jobs.login.enqueue('anna', {'depot': 3}, password='secret'), jobs.gives_up.enqueue()",
    "    jobs.sometimes.enqueue('yes'), jobs.sometimes.enqueue('no answer')",
    "    tasks.drain(raises=False)",
    "jobs.weigh.enqueue(31)",
)


@contextmanager
def admin(folder: Path) -> Iterator[str]:
    """The address of the admin of a project whose tasks have run, failed, and wait."""
    site = DjangoSite(folder, DJANGO_SETTINGS_MODULE="shop.shown")
    site.manage("migrate", "-v", "0")
    site.shell(*_CALLS)
    address = f"127.0.0.1:{free_port()}"
    with site.process("manage.py", "runserver", "--noreload", address, name="web"):
        url = f"http://{address}/admin/celeriac"
        wait_until(lambda: _answers(f"{url}/taskrecord/"), what="the admin")
        yield url


def _answers(url: str) -> bool:
    try:
        with urlopen(url) as response:
            return bool(response.status == 200)
    except URLError:
        return False


def main() -> None:
    """The picture in docs/images is new."""
    with tempfile.TemporaryDirectory(prefix="celeriac-admin-") as folder, admin(Path(folder)) as url:
        screenshot(f"{url}/taskrecord/", PICTURE, WIDTH, HEIGHT)


if __name__ == "__main__":
    main()
