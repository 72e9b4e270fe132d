"""``celeriac demo`` as a user runs it: real processes, real kills, real brokers."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import zipfile
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.servers import RedisServer, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
ORDERS = ROOT / "examples" / "logistics" / "data" / "orders.csv"
START = "import sys; {before}; from celeriac.cli import main; main()"


class Demo:
    """Runs the command with a folder of its own for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.environment = {**os.environ, "TMPDIR": str(self.temporary)}

    def command(self, *arguments: object, before: str = "") -> list[str]:
        return [sys.executable, "-c", START.format(before=before or "0"), "demo", *map(str, arguments)]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, before=before),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def left_behind(self) -> list[str]:
        """Files that are still there, and processes that still use them."""
        files = [str(path) for path in self.temporary.iterdir()]
        return files + processes_in(self.temporary)


def processes_in(folder: Path) -> list[str]:
    """The processes that work in a folder below the given one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink().is_relative_to(folder):
                found.append(link.parent.name)
        except OSError:  # ended in the meantime
            continue
    return found


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


def assert_faultless(figures: dict[str, Any], committed: int, rolled_back: int) -> None:
    assert (figures["committed"], figures["rolled_back"]) == (committed, rolled_back)
    assert (figures["lost"], figures["repeated"], figures["orphans"]) == (0, 0, 0)
    assert figures["shipments"] == committed
    assert figures["tasks_run"] >= committed


def assert_killed(figures: dict[str, Any], messages: str) -> None:
    assert re.search(r"import \d+ killed \(SIGKILL\) after a commit, calls not sent yet: [1-9]", messages)
    assert re.search(r"shard \d+ killed", messages)
    assert re.search(r"worker \d+ and all its shards killed", messages)
    assert figures["recovery_seconds"]["import"] > 0
    assert figures["recovery_seconds"]["shard"] > 0
    assert figures["recovery_seconds"]["worker"] > 0


def test_nothing_is_lost_or_repeated_in_a_file(demo: Demo) -> None:
    finished = demo("--limit", 400, "--json")
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(finished.stdout)
    assert_faultless(figures, committed=380, rolled_back=20)
    assert_killed(figures, finished.stderr)
    assert figures["broker"].startswith("sqlite:////")
    assert demo.left_behind() == []


def test_nothing_is_lost_or_repeated_in_redis_and_the_rest_of_it_is_untouched(
    demo: Demo, redis: RedisServer
) -> None:
    with Redis.from_url(redis.url) as client:
        client.flushdb()
        client.rpush("orders", "somebody else's")
        finished = demo("--limit", 400, "--json", "--broker", redis.url)
        assert finished.returncode == 0, finished.stderr
        assert client.keys("*") == [b"orders"]
        assert client.lrange("orders", 0, -1) == [b"somebody else's"]
    figures = json.loads(finished.stdout)
    assert_faultless(figures, committed=380, rolled_back=20)
    assert_killed(figures, finished.stderr)
    assert figures["broker"] == redis.url
    assert demo.left_behind() == []


def test_bad_rows_are_named_and_the_others_shipped(demo: Demo, tmp_path: Path) -> None:
    lines = ORDERS.read_text().splitlines()[:31]
    lines[3] = lines[3].replace("LG-", "LG-\N{PILE OF POO}" * 9)
    lines[7] = lines[6]
    lines[12] = "LG-000012,too,short"
    orders = tmp_path / "orders.csv"
    orders.write_text("\n".join(lines))
    finished = demo("--orders", orders, "--no-kill", "--keep", "--shards", 1)
    assert finished.returncode == 1, finished.stderr
    assert finished.stderr == ""
    for row, reason in ((4, "is longer than 20"), (8, "is that of row 7"), (13, "3 fields instead of 10")):
        assert re.search(rf"^row {row} was left out: .*{reason}", finished.stdout, re.MULTILINE)
    assert re.search(r"orders committed +│ +26 ", finished.stdout)
    assert re.search(r"rolled back on purpose +│ +1 ", finished.stdout)
    assert re.search(r"lost +│ +0 ", finished.stdout)
    kept = Path(finished.stdout.splitlines()[-1].removeprefix("Kept: "))
    assert kept.parent == demo.temporary
    assert (kept / "logistics.db").exists()
    assert processes_in(kept) == []


@pytest.mark.parametrize(
    ("arguments", "before", "line"),
    [
        (["--orders", "none.csv"], "", "cannot read none.csv (No such file or directory): give --orders"),
        (["--orders", "/"], "", "cannot read / (Is a directory): give --orders"),
        (["--orders", __file__], "", "lacks the column 'number': its first line must be number,"),
        (["--orders", sys.executable], "", "is not in UTF-8"),
        (["--orders", "/dev/null"], "", "lacks the column 'number'"),
        (["--orders", "header.csv"], "", "holds no orders: add a row"),
        (["--broker", "redsi://localhost"], "", "no known scheme; did you mean 'redis'?"),
        (["--broker", "redis://localhost:port"], "", "is not a Redis URL"),
        (["--broker", "sqlite://broker.db"], "", "write sqlite:///file.db"),
        (["--broker", "sqlite:////none/broker.db"], "", "does not exist: create it"),
        (["--broker", f"redis://127.0.0.1:{free_port()}/0"], "", "leave --broker out"),
        (["--broker", "redis://h"], "sys.modules['redis'] = None", "pip install 'celeriac[redis]'"),
        ([], "sys.modules['django'] = None", "pip install 'celeriac[django]'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    demo: Demo, arguments: list[str], before: str, line: str
) -> None:
    header = ORDERS.read_text().partition("\n")[0]
    (demo.folder / "header.csv").write_text(header)
    finished = demo("--json", *arguments, before=before)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1
    assert line in finished.stderr
    assert demo.left_behind() == []


def test_a_worker_that_dies_at_start_is_shown(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'worker' in sys.orig_argv:\n    os.write(2, b'no such luck')\n    os._exit(1)\n"
    )
    demo.environment["PYTHONPATH"] = str(tmp_path)
    finished = demo("--json", "--limit", 10)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "the worker ended with exit code 1" in finished.stderr
    assert "no such luck" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert demo.left_behind() == []


def test_a_terminal_shows_bars_and_the_table(demo: Demo) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    environment = {**demo.environment, "TERM": "xterm"}
    command = demo.command("--limit", 60, "--no-kill")
    with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        screen = read_to_end(ours)
    assert run.returncode == 0, screen
    assert "shards" in screen
    assert re.search(r"imported.*60/60", screen)
    assert re.search(r"shipped.*57/57", screen)
    assert re.search(r"orders committed.*57", screen)
    assert demo.left_behind() == []


def read_to_end(terminal: int) -> str:
    """What was written to the terminal until its other side was closed."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody holds the other side any more
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


def test_the_installed_package_holds_the_project(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    found = subprocess.run(
        [sys.executable, "-c", "from celeriac.demo.project import find_project; print(find_project())"],
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    project = Path(found.stdout.strip())
    assert project == tmp_path / "installed" / "celeriac" / "demo" / "logistics"
    assert (project / "data" / "orders.csv").read_bytes() == ORDERS.read_bytes()
    subprocess.run([sys.executable, str(project / "manage.py"), "check"], check=True, capture_output=True)


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(demo: Demo, request_to_end: signal.Signals) -> None:
    run = demo.start("--json")
    wait_until(lambda: len(processes_in(demo.temporary)) >= 4, what="worker, shards and import")
    run.send_signal(request_to_end)
    output, messages = run.communicate()
    assert run.returncode == 130
    assert output == ""
    assert messages.endswith("Interrupted: all processes are stopped.\n")
    assert "Traceback" not in messages
    assert demo.left_behind() == []
