"""One run of the suite, with one kind of app and of worker, on a private Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compat.celery_suite.sources import ROOT, fetch_suite
from tests.servers import redis_server

__all__ = ["RUNS", "WHOLE", "Run", "run_suite"]

_SWAP = Path(__file__).with_name("swap")
#: Modules of the suite that need other services than Redis.
_OTHER_SERVICES = ("test_backend.py", "test_cache_backend.py", "test_database_backend.py")

WHOLE = ("t/integration",)
#: Its signed messages end a worker process of Celery's, which nobody in the suite starts again.
_ALONE = "t/integration/test_security.py"


@dataclass(frozen=True)
class Run:
    """``worker`` is where the suite's worker runs: as the suite has it, in a process, or in a thread."""

    name: str
    title: str
    worker: str
    celeriac: bool


RUNS = {
    run.name: run
    for run in (
        Run("stock", "Celery, worker in a thread as the suite has it", "suite", celeriac=False),
        Run("stock-process", "Celery, `celery worker`", "process", celeriac=False),
        Run("process", "Celeriac, `celery worker`", "process", celeriac=True),
        Run("thread", "Celeriac, its worker in a thread", "thread", celeriac=True),
        Run("embedded", "Celeriac app, `start_worker` unchanged", "suite", celeriac=True),
    )
}


def run_suite(run: Run, results: Path, selection: Sequence[str] = WHOLE) -> dict[str, Any]:
    """Return what became of each selected test; pytest's output is kept beside ``results``."""
    if selection != WHOLE:
        return _run_session(run, results, selection)
    others = _run_session(run, results, [*selection, f"--ignore={_ALONE}"])
    return others | _run_session(run, results.with_stem(f"{results.stem}-alone"), [_ALONE])


def _run_session(run: Run, results: Path, selection: Sequence[str]) -> dict[str, Any]:
    suite = fetch_suite()
    ignored = [f"--ignore=t/integration/{name}" for name in _OTHER_SERVICES]
    plugins = ["-p", "celery.contrib.pytest", "-p", "tests.compat.celery_suite.plugin"]
    options = [*plugins, "-p", "no:cacheprovider", "-v", "--timeout=300"]
    with redis_server() as redis, results.with_suffix(".log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *ignored, *selection],
            cwd=suite,
            env=_environment(run, redis.port, results),
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not results.exists():
        raise RuntimeError(f"the suite did not run: see {results.with_suffix('.log')}")
    outcomes: dict[str, Any] = json.loads(results.read_text())
    return outcomes


def _environment(run: Run, port: int, results: Path) -> dict[str, str]:
    url = f"redis://127.0.0.1:{port}/0"
    path = [str(_SWAP)] if run.celeriac else []
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([*path, str(ROOT), str(fetch_suite())]),
        "WORKER_LOGLEVEL": "INFO",
        "TEST_BROKER": url,
        "TEST_BACKEND": url,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(port),
        "SUITE_WORKER": run.worker,
        "SUITE_RESULTS": str(results),
    }
