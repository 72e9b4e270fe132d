from __future__ import annotations

from pathlib import Path
from shutil import copy

import pytest

from tests.packages.site import Site
from tests.servers import RedisServer


@pytest.fixture(params=["celery", "celeriac"])
def site(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Site:
    """The same test on Celery's own app and worker, and on Celeriac's."""
    return Site(tmp_path, redis, request.param)


@pytest.fixture(scope="session")
def django_database(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Path:
    """An empty database with the tables of the Django project."""
    folder = tmp_path_factory.mktemp("django")
    Site(folder, redis, "celery").call("project.scenarios", "migrate")
    return folder / "django.db"


@pytest.fixture
def django_site(site: Site, django_database: Path) -> Site:
    """A site for the Django project, with a database of its own."""
    copy(django_database, site.folder / "django.db")
    return site
