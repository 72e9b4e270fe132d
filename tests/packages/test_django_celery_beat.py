"""django-celery-beat keeps the plan in Django's database, for `celery beat` and for a worker's own beat."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packages.site import Site
from tests.servers import wait_until


def ticks(site: Site, key: str) -> int:
    return site.lines("ticks").count(key)


def follow_the_plan(site: Site) -> dict[str, Any]:
    """Wait until what is planned has been run, change the plan, and wait for that; return what is told."""
    wait_until(lambda: ticks(site, "often") >= 3 and ticks(site, "once"), what="the tasks that are due")
    assert (ticks(site, "once"), ticks(site, "off"), ticks(site, "midnight")) == (1, 0, 0)
    site.call("project.scenarios", "change_plan")
    wait_until(lambda: ticks(site, "new"), what="the new task")
    told: dict[str, Any] = site.call("project.scenarios", "planned")
    return told


def check(told: dict[str, Any]) -> None:
    assert told["runs"]["midnight"] == 0
    assert told["enabled"] == ["celery.backend_cleanup", "midnight", "new", "often"]
    assert ["often", '"often"'] in told["results"], "the result knows which entry of the plan it comes from"


@pytest.mark.shows("package", "django-celery-beat")
def test_beat_follows_the_plan_in_the_database(django_site: Site) -> None:
    django_site.call("project.scenarios", "plan")
    with django_site.worker("project", "-c", "1"), django_site.beat("project"):
        check(follow_the_plan(django_site))


@pytest.mark.shows("package", "django-celery-beat")
@pytest.mark.shows("worker option", "-B")
@pytest.mark.parametrize("site", ["celeriac"], indirect=True)
def test_a_workers_own_beat_follows_it_too(django_site: Site) -> None:
    django_site.call("project.scenarios", "plan")
    with django_site.worker("project", "-c", "1", "-B") as worker:
        check(follow_the_plan(django_site))
        assert worker.stop() == 0
    assert "Celery's stock worker" not in worker.text
