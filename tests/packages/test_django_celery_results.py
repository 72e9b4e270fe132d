"""django-celery-results keeps results, groups and the counters of chords in Django's database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.packages.site import Site

TASKS = "tests.packages.project.tasks"


@pytest.mark.shows("package", "django-celery-results")
def test_results_are_in_djangos_database(django_site: Site) -> None:
    with django_site.worker("project", "-c", "2", "-n", "one@test"):
        told: dict[str, Any] = django_site.call("project.scenarios", "results")
    added, failed, again = told["add"], told["fail"], told["again"]
    assert (added["status"], json.loads(added["result"])) == ("SUCCESS", 3)
    assert (added["task_name"], added["worker"]) == (f"{TASKS}.add", "one@test")
    assert (json.loads(added["task_args"]), json.loads(added["task_kwargs"])) == ("(1,)", "{'y': 2}")
    assert (failed["status"], json.loads(failed["result"])["exc_message"]) == ("FAILURE", ["boom"])
    assert "ValueError: boom" in told["traceback"]
    assert (again["status"], json.loads(again["result"])) == ("SUCCESS", 2)
    assert told["ignored"] is None
    assert json.loads(told["chord"]["result"]) == 20
    assert told["bad chord"]["status"] == "FAILURE"
    assert json.loads(told["chain"]["result"]) == 6
    assert told["dated"]
    assert told["children of the chain"] == 1
    assert told["groups"] == 1
    assert told["open chords"] == 0
