"""celery-redbeat keeps the plan in Redis, for `celery beat` and for a worker's own beat."""

from __future__ import annotations

import pytest

from tests.packages.site import Site
from tests.servers import wait_until


def ticks(site: Site, key: str) -> int:
    return site.lines("ticks").count(key)


def beat_log(site: Site) -> str:
    return (site.folder / "beat.log").read_text()


def follow_the_plan(site: Site) -> None:
    """Wait until what is planned has been run, add to the plan, and wait for that."""
    wait_until(lambda: ticks(site, "often") >= 2, what="what the settings have planned")
    entry = site.call("apps.redbeat", "add_entry", "added")
    wait_until(lambda: ticks(site, "added") >= 2, what="what was planned later")
    site.call("apps.redbeat", "remove_entry", entry)


@pytest.mark.shows("package", "celery-redbeat")
def test_beat_follows_the_plan_in_redis(site: Site) -> None:
    with site.worker("apps.redbeat", "-c", "1"), site.beat("apps.redbeat"):
        follow_the_plan(site)


@pytest.mark.shows("package", "celery-redbeat")
@pytest.mark.parametrize("site", ["celeriac"], indirect=True)
def test_a_workers_own_beat_follows_it_and_a_second_one_waits_for_its_lock(site: Site) -> None:
    with site.worker("apps.redbeat", "-c", "1", "-B") as worker:
        worker.wait_log("beat: Acquired lock")
        follow_the_plan(site)
        with site.beat("apps.redbeat", "-l", "debug"):
            wait_until(lambda: "Acquiring lock..." in beat_log(site), what="a second beat")
            worker.kill_group()
            wait_until(lambda: "Acquired lock" in beat_log(site), what="the lock")
