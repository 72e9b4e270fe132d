"""celery-batches replaces a part of Celery's worker, so its tasks run on Celery's worker."""

from __future__ import annotations

import pytest

from tests.packages.site import Site

WARNING = "Celery's stock worker runs here instead of Celeriac's engine: "


@pytest.mark.shows("package", "celery-batches")
def test_a_batch_task_runs_once_for_many_calls(site: Site) -> None:
    with site.worker("apps.batches", "-c", "1") as worker:
        batched, added = site.call("apps.batches", "scenario")
    assert sorted(number for number, _ in batched) == list(range(7))
    assert 5 in {size for _, size in batched}
    assert added == 3
    assert worker.text.count(WARNING) == (site.engine == "celeriac")
    if site.engine == "celeriac":
        assert "the task 'tests.packages.apps.batches.total' has a Strategy of its own" in worker.text
