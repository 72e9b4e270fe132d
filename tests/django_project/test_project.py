"""One line in INSTALLED_APPS makes a Django project one of Celeriac's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.django_project.site import DjangoSite
from tests.servers import wait_until

OWN_APP = """
import os
from {package} import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("own")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
IMPORTS_IT = "from shop.celery import app as celery_app\n"
WHICH_APP = ("from parcels.tasks import send", "print(send.app.main, type(send.app).__module__)")


@pytest.fixture
def site(tmp_path: Path) -> DjangoSite:
    return DjangoSite(tmp_path)


def test_a_project_without_an_app_of_its_own_needs_none(site: DjangoSite) -> None:
    assert site.shell(*WHICH_APP) == "shop celeriac.bridge.app"


@pytest.mark.shows("beyond", "default app of a Django project")
@pytest.mark.parametrize(
    "command",
    [("manage.py", "celery"), ("-m", "celery", "-A", "celeriac.django")],
    ids=["manage.py celery", "celery -A celeriac.django"],
)
def test_a_shared_task_is_called_and_run(site: DjangoSite, command: tuple[str, ...]) -> None:
    site.manage("migrate", "-v", "0")
    started = site.process(
        *command, "worker", "-l", "info", "-c", "1", DJANGO_SETTINGS_MODULE="shop.settings"
    )
    with started as worker:
        worker.wait_ready()
        site.shell("from parcels.tasks import send", "send.delay(7)")
        wait_until(lambda: site.lines("sent") == ["7"], what="the task")
        assert "parcels.tasks.send" in worker.text


def test_manage_hands_everything_on_to_celery(site: DjangoSite) -> None:
    assert "--autoscale" in site.manage("celery", "worker", "--help")
    assert "No such command 'worke'" in site.manage("celery", "worke", fails=True)
    assert "shop" in site.manage("celery", "--settings", "shop.settings", "report", "--pythonpath=.")


def test_a_named_app_goes_before_the_projects(site: DjangoSite) -> None:
    site.write("other.py", "from celeriac import Celery\napp = Celery('other', broker='redis://other//')\n")
    assert "other" in site.manage("celery", "-A", "other", "report")


def test_without_settings_the_error_says_what_to_do(site: DjangoSite) -> None:
    with site.process("-m", "celery", "-A", "celeriac.django", "report") as running:
        assert running.process.wait(30) != 0
    assert "set DJANGO_SETTINGS_MODULE, or write python manage.py celery" in running.text


def test_a_project_with_an_app_of_its_own_keeps_it(site: DjangoSite) -> None:
    site.write("shop/celery.py", OWN_APP.format(package="celeriac"))
    site.write("shop/__init__.py", IMPORTS_IT)
    assert site.shell(*WHICH_APP) == "own celeriac.bridge.app"
    assert "no issues" in site.manage("check")


def test_a_project_on_celerys_app_is_told_to_change_the_import(site: DjangoSite) -> None:
    site.write("shop/celery.py", OWN_APP.format(package="celery"))
    site.write("shop/__init__.py", IMPORTS_IT)
    told = site.manage("check", fails=True)
    assert "(celeriac.E001) The Celery app 'own' is Celery's own" in told
    assert "change 'from celery import Celery' to 'from celeriac import Celery'" in told


def test_a_project_that_does_not_import_its_app_is_told(site: DjangoSite) -> None:
    site.write("shop/celery.py", OWN_APP.format(package="celeriac"))
    told = site.manage("check")
    assert "(celeriac.W002) There is a module shop.celery" in told
    assert IMPORTS_IT.strip() in told


def test_the_checks_run_by_their_tag_and_more_of_them_before_a_deployment(site: DjangoSite) -> None:
    site.write("shop/local.py", "from shop.settings import *\nCELERY_TASK_ALWAYS_EAGER = True\n")
    local = ("--settings", "shop.local", "--tag", "celeriac")
    assert "no issues" in site.manage("check", *local)
    told = site.manage("check", "--deploy", "--fail-level", "ERROR", *local, fails=True)
    assert "celeriac.W050" in told
    assert "celeriac.I034" in told
    assert "celeriac.E030" in told  # not migrated
    site.manage("migrate", "-v", "0")
    assert "celeriac.E030" not in site.manage("check", "--deploy", *local)
