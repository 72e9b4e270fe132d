"""A Redis with a replica, watched over by three sentinels, on this machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from tests.servers import RedisServer, free_port, require, wait_until

NAME = "mymaster"
_CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 500
sentinel failover-timeout {name} 3000
"""


class Sentinels:
    """Two servers, of which the first begins as the master, and the three that watch them."""

    def __init__(self, folder: Path) -> None:
        for name in ("one", "two"):
            (folder / name).mkdir()
        self.master = RedisServer(folder / "one")
        self.replica = RedisServer(folder / "two", "--replicaof", "127.0.0.1", str(self.master.port))
        self.ports = [free_port() for _ in range(3)]
        self.url = ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.ports)
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all five; return once each sentinel knows the replica and the other two."""
        self.master.start()
        self.replica.start()
        wait_until(lambda: self._info(self.replica.port)["master_link_status"] == "up", what="the replica")
        for port in self.ports:
            place = self._folder / f"{port}.conf"
            place.write_text(
                _CONFIGURATION.format(port=port, folder=self._folder, name=NAME, master=self.master.port)
            )
            program = require("redis-server", "apt-get install redis-server")
            output = subprocess.DEVNULL
            self._processes.append(
                subprocess.Popen([program, str(place), "--sentinel"], stdout=output, stderr=output)
            )
        wait_until(lambda: all(map(self._knows_all, self.ports)), what="sentinels that know each other")

    def stop(self) -> None:
        """Stop whatever still runs."""
        for process in self._processes:
            process.kill()
            process.wait()
        self.replica.kill()
        self.master.kill()

    def is_in_step(self) -> bool:
        """Whether the replica has received all that the master has accepted."""
        with Redis(port=self.master.port) as client:
            return bool(client.wait(1, 1000))

    def has_new_master(self) -> bool:
        """Whether the replica has become the master."""
        return bool(self._info(self.replica.port)["role"] == "master")

    def _info(self, port: int) -> dict[str, str]:
        with Redis(port=port, decode_responses=True) as client:
            return dict(client.info("replication"))

    def _knows_all(self, port: int) -> bool:
        try:
            with Redis(port=port, decode_responses=True) as client:
                state = client.sentinel_master(NAME)
                return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1
        except (OSError, ConnectionError, KeyError):
            return False


@contextmanager
def sentinels() -> Iterator[Sentinels]:
    """All five servers for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="celeriac-sentinels-") as folder:
        running = Sentinels(Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()
