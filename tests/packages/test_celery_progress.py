"""celery-progress shows through its views how far a task has come."""

from __future__ import annotations

import pytest

from tests.packages.site import Site


@pytest.mark.shows("package", "celery-progress")
def test_the_views_tell_how_far_a_task_has_come(django_site: Site) -> None:
    with django_site.worker("project", "-c", "2"):
        halfway, arrived, group = django_site.call("project.scenarios", "progress")
    assert halfway["progress"] == {
        "pending": False,
        "current": 1,
        "total": 2,
        "percent": 50.0,
        "description": "half of the way",
    }
    assert not halfway["complete"]
    assert (arrived["success"], arrived["result"]) == (True, "arrived")
    assert group == {
        "complete": True,
        "success": False,
        "progress": {"current": 200, "percent": 100.0, "total": 200},
    }
