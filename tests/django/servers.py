"""Private database servers and a private RabbitMQ, each in a temporary folder, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.processes import lives
from tests.servers import free_port, require, wait_until

Options = dict[str, Any]


@dataclass
class Server:
    """One private server, which a test may stop or kill, and start again where it was."""

    command: Sequence[object]
    user: str | None
    folder: Path
    #: Whether it can be used.
    answers: Callable[[], bool]
    #: What tells it to end, without waiting for its clients.
    ending: signal.Signals
    environment: Mapping[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return once it can be used."""
        log = self.folder / f"{Path(str(self.command[0])).name}.log"
        with log.open("ab") as output:
            process = self._process = subprocess.Popen(
                list(map(str, self.command)),
                cwd=self.folder,
                user=self.user,
                env={**os.environ, **(self.environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(
            lambda: self.answers() or process.poll() is not None, timeout=120, what=f"{self.command[0]}"
        )
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Tell it to end; return once it has ended, by force after 20 seconds."""
        if self._process is None:
            return
        self._process.send_signal(self.ending)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=20)
        self.kill()

    def kill(self) -> None:
        """SIGKILL it with all processes that it has started; return once they have ended."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # so that it starts no others
        children = _descendants(process.pid)
        for pid in (*children, process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # Until they are gone they hold shared memory, without which PostgreSQL does not start again.
        wait_until(lambda: not any(map(lives, children)), timeout=60, what="all of its processes to end")


def _descendants(pid: int) -> list[int]:
    """Return the processes below this one, which may have sessions of their own."""
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


@contextmanager
def postgres_server() -> Iterator[Options]:
    """A private PostgreSQL; yields Django's settings for a database of it."""
    with restartable_postgres() as (options, _):
        yield options


@contextmanager
def mariadb_server() -> Iterator[Options]:
    """A private MariaDB; yields Django's settings for a database of it."""
    with restartable_mariadb() as (options, _):
        yield options


@contextmanager
def rabbitmq_server() -> Iterator[str]:
    """A private RabbitMQ; yields its URL."""
    with restartable_rabbitmq() as (url, _):
        yield url


@contextmanager
def restartable_postgres() -> Iterator[tuple[Options, Server]]:
    """A private PostgreSQL that may be stopped or killed meanwhile."""
    bin_folder = _newest("/usr/lib/postgresql/*/bin")
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], str(bin_folder)])
    initdb = require("initdb", "apt-get install postgresql")
    with _folder("postgres") as (folder, user):
        data, port = folder / "data", free_port()
        _run([initdb, "-D", data, "-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync"], user)
        options = {"port": port, "unix_socket_directories": folder, "listen_addresses": "127.0.0.1"}
        options["recovery_init_sync_method"] = "syncfs"  # not file by file, after it was killed
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [require("postgres", "apt-get install postgresql"), "-D", data, *settings]
        place = {"NAME": "postgres", "USER": "shop", "HOST": "127.0.0.1", "PORT": port}
        with _running(Server(command, user, folder, lambda: _lets_in(port), signal.SIGINT)) as server:
            yield {"ENGINE": "django.db.backends.postgresql", **place}, server


@contextmanager
def restartable_mariadb() -> Iterator[tuple[Options, Server]]:
    """A private MariaDB that may be stopped or killed meanwhile."""
    install = "apt-get install mariadb-server"
    install_db = require("mariadb-install-db", install)
    with _folder("mysql") as (folder, user):
        data, port = folder / "data", free_port()
        # A server that starts removes the temporary tables of all that share its folder for them.
        common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}"]
        _run([install_db, *common, "--auth-root-authentication-method=normal", "--skip-test-db"], user)
        places = [f"--port={port}", f"--socket={folder}/socket", "--bind-address=127.0.0.1"]
        quick = ["--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=32M"]
        command = [require("mariadbd", install), *common, *places, *quick]
        place = {"NAME": "shop", "USER": "shop", "PASSWORD": "shop", "HOST": "127.0.0.1", "PORT": port}
        with _running(Server(command, user, folder, lambda: _greets(port), signal.SIGTERM)) as server:
            client = require("mariadb", install)
            _run([client, "--no-defaults", f"--socket={folder}/socket", "-u", "root", "-e", _MAKE_SHOP], user)
            yield {"ENGINE": "django.db.backends.mysql", **place}, server


_MAKE_SHOP = (
    "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE USER shop@localhost IDENTIFIED BY 'shop'; "
    "CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'shop'; "
    "GRANT ALL ON *.* TO shop@localhost; GRANT ALL ON *.* TO shop@'127.0.0.1'"
)


@contextmanager
def restartable_rabbitmq() -> Iterator[tuple[str, Server]]:
    """A private RabbitMQ that may be stopped or killed meanwhile."""
    install = "apt-get install rabbitmq-server"
    require("rabbitmq-server", install)
    epmd = require("epmd", install)
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    with _folder("rabbitmq") as (folder, user):
        port, epmd_port = free_port(), free_port()
        environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"celeriac{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        }
        names = Server([epmd, "-port", epmd_port], user, folder, lambda: _listens(epmd_port), signal.SIGTERM)
        broker = Server([program], user, folder, lambda: _speaks_amqp(port), signal.SIGTERM, environment)
        with _running(names), _running(broker) as server:
            yield f"amqp://guest:guest@127.0.0.1:{port}//", server


@contextmanager
def _folder(account: str) -> Iterator[tuple[Path, str | None]]:
    """A folder that the account owns, and the account if processes must be given it."""
    path = Path(tempfile.mkdtemp(prefix=f"celeriac-{account}-", dir="/tmp"))
    user = None
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(account)
        except KeyError:
            pytest.skip(f"there is no user {account}")
        user = account
        shutil.chown(path, user)
    try:
        yield path, user
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _run(command: Sequence[object], user: str | None) -> None:
    done = subprocess.run(
        list(map(str, command)),
        user=user,
        cwd="/tmp",
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _greets(port: int) -> bool:
    """MariaDB listens before it has started, and ends badly if it is told to end then."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return len(connection.recv(5)) == 5
    except OSError:
        return False


def _lets_in(port: int) -> bool:
    """PostgreSQL listens before it has started."""
    try:
        psycopg.connect(f"host=127.0.0.1 port={port} user=shop dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _speaks_amqp(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return len(connection.recv(8)) == 8
    except OSError:
        return False


def _newest(pattern: str) -> Path:
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    return found[-1] if found else Path("/nonexistent")
