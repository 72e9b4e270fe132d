"""A Django project in a folder of its own, and the processes that users start in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers import wait_until

PROJECT = Path(__file__).parent


class DjangoSite:
    """Its databases and its ledger lie in the folder too."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "FOLDER": str(folder),
            "PYTHONPATH": str(folder),
            "PYTHONWARNINGS": "ignore",
            **environment,
        }
        for name in ("manage.py", "shop", "parcels"):
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            copy(PROJECT / name, folder / name)

    def write(self, path: str, text: str) -> None:
        """The file of the project holds this."""
        (self.folder / path).write_text(text)

    def manage(self, *arguments: str, fails: bool = False) -> str:
        """Return what ``manage.py`` says, which fails only where that is expected."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, *lines: str) -> str:
        """Return what these lines print inside the project."""
        return self.manage("shell", "-v", "0", "-c", "\n".join(lines)).strip()

    @contextmanager
    def process(self, *command: str, name: str = "worker", **environment: str) -> Iterator[Running]:
        """A long-running command of Python for the time of the block; what is left of it is killed."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            running = Running(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=self.folder,
                    env={**self.environment, **environment},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                ),
                log,
            )
        try:
            yield running
        finally:
            running.kill()

    @contextmanager
    def worker(self, *options: str, name: str = "worker", **environment: str) -> Iterator[Running]:
        """``manage.py celery worker``, ready."""
        command = ("manage.py", "celery", "worker", "-l", "info", *options)
        with self.process(*command, name=name, **environment) as running:
            running.wait_ready()
            yield running

    def lines(self, name: str) -> list[str]:
        """What has been written so far into a file of the folder."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


class Running:
    """A process that leads a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> None:
        wait_until(
            lambda: " ready." in self.text or self.process.poll() is not None,
            timeout=40,
            what=f"{self.log} ready",
        )
        assert self.process.poll() is None, self.text

    def kill(self) -> None:
        """SIGKILL it and its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
