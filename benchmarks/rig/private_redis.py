"""A private Redis for one measurement: a free port, nothing written to disk, gone afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import redis

__all__ = ["PrivateRedis", "start_redis"]

_START_SECONDS = 10


class PrivateRedis:
    """Where messages lie in database 0 and results in database 1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.broker_url = f"redis://127.0.0.1:{port}/0"
        self.results_url = f"redis://127.0.0.1:{port}/1"
        self.messages = redis.Redis(port=port, db=0)
        self.results = redis.Redis(port=port, db=1)

    @property
    def version(self) -> str:
        return str(self.messages.info("server")["redis_version"])

    @property
    def cpu_seconds(self) -> float:
        used = self.messages.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def answers(self) -> bool:
        try:
            return bool(self.messages.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def start_redis() -> Iterator[PrivateRedis]:
    """Start a redis-server without snapshots and append-only file; stop it after the block."""
    program = shutil.which("redis-server")
    if program is None:
        raise click.ClickException("redis-server is missing: apt-get install redis-server")
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="celeriac-bench-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen(
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            private = PrivateRedis(port)
            deadline = time.monotonic() + _START_SECONDS
            while not private.answers():
                if time.monotonic() > deadline:
                    raise click.ClickException(f"redis-server did not answer on port {port}")
                time.sleep(0.02)
            yield private
        finally:
            server.terminate()
            server.wait()
