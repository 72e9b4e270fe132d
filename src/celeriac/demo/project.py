"""Where the reference application lies, and a folder for one run of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from celeriac.core.errors import ConfigurationError, MissingExtra
from celeriac.demo.broker import DemoBroker

__all__ = ["Site", "find_project", "temporary_folder"]

#: Variables of the caller that would change what the project does.
_FOREIGN_PREFIXES = ("CELERY_", "DJANGO_", "LOGISTICS_")
_FOREIGN = {"APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND"}


class Site(msgspec.Struct, frozen=True):
    """The project's code, and the folder that one run of it may fill."""

    project: Path
    folder: Path
    broker: DemoBroker

    @property
    def database(self) -> Path:
        return self.folder / "logistics.db"

    def environment(self) -> dict[str, str]:
        """The variables every process of this run is started with."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES)
        }
        path = [str(self.project), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **inherited,
            **self.broker.environment(),
            "DJANGO_SETTINGS_MODULE": "logistics.settings",
            "LOGISTICS_DATABASE": str(self.database),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str) -> list[str]:
        """The command line of one of the project's Django commands."""
        return [sys.executable, str(self.project / "manage.py"), *arguments]


def find_project() -> Path:
    """Return the folder of the logistics project; raise :class:`MissingExtra` without Django."""
    if importlib.util.find_spec("django") is None:
        raise MissingExtra("Django", "django")
    here = Path(__file__).resolve().parent
    installed, in_source_tree = here / "logistics", here.parents[2] / "examples" / "logistics"
    for folder in (installed, in_source_tree):
        if (folder / "manage.py").exists():
            return folder
    raise ConfigurationError("the logistics project is not installed: pip install --force-reinstall celeriac")


@contextmanager
def temporary_folder(keep: bool) -> Iterator[Path]:
    """A new folder, removed with all it holds afterwards unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="celeriac-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
