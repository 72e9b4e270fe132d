"""A private PostgreSQL server: in a temporary folder, on a free port, stopped afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.servers import free_port, require, wait_until

__all__ = ["PostgresServer", "postgres_server"]

_INSTALL = "apt-get install postgresql"


class PostgresServer:
    """One private server, whose superuser ``postgres`` needs no password."""

    def __init__(self, folder: Path, *options: str) -> None:
        """``options`` are settings of the server, as ``"fsync=on"``; the last of each name counts."""
        self.port = free_port()
        self._data = folder / "data"
        self._log = folder / "log"
        self._options = ("fsync=off", f"unix_socket_directories={folder}", *options)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)

    def start(self) -> None:
        """Start the server; return once it answers."""
        if not self._data.exists():
            arguments = ["-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
            subprocess.run(
                [_program("initdb"), *arguments], check=True, stdout=subprocess.DEVNULL, user=self._user
            )
        settings = [word for option in self._options for word in ("-c", option)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", str(self._data), "-p", str(self.port), *settings],
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,
            )
        wait_until(self._answers, what=f"PostgreSQL on port {self.port}")

    def stop(self) -> None:
        """Stop the server; return once its process has ended."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: without waiting for its clients
            self._process.wait()
            self._process = None

    def database(self) -> dict[str, Any]:
        """Return a new, empty database, as Django's ``DATABASES`` names it."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": self.port,
        }

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; return its rows."""
        place = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        with psycopg.connect(place, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """A private PostgreSQL for the time of the block."""
    _program("postgres")
    with tempfile.TemporaryDirectory(prefix="celeriac-postgres-") as folder:
        server = PostgresServer(Path(folder), *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL server for the whole session; take a database of your own."""
    with postgres_server() as server:
        yield server


def _program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps them apart from others."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else require(name, _INSTALL)
