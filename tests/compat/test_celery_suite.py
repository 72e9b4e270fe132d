"""A slice of Celery's own integration suite, unchanged, against ``celery worker`` on Celeriac's engine.

Quick tests of canvas, tasks, results and remote control; all of the suite is run by ``make celery-suite``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat.celery_suite.quick import QUICK
from tests.compat.celery_suite.runs import RUNS, run_suite
from tests.compat.celery_suite.sources import SuiteUnavailable, fetch_suite
from tests.servers import require


@pytest.fixture
def suite() -> Path:
    """Celery's own tests; where they cannot be downloaded, skip on a laptop and fail in CI."""
    require("redis-server", "apt-get install redis-server")
    try:
        return fetch_suite()
    except SuiteUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.usefixtures("suite")
@pytest.mark.timeout(300)
@pytest.mark.shows("canvas", "chain", "group", "chord", "starmap", "stamp")
def test_a_slice_of_the_suite_passes(tmp_path: Path) -> None:
    tests = run_suite(RUNS["process"], tmp_path / "slice.json", QUICK)
    assert {test: told["reason"] for test, told in tests.items() if told["outcome"] != "passed"} == {}
    assert len(tests) >= len(QUICK)
    assert "/Shard-1] Task t.integration.tasks" in (tmp_path / "slice.worker.log").read_text()
