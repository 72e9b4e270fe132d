"""Fixtures of tests that run inside a Django project, in a process of their own (../test_suite.py)."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
os.environ.setdefault("FOLDER", tempfile.mkdtemp(prefix="celeriac-django-"))

import django
import pytest

django.setup()

from django.test.utils import (  # noqa: E402
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)

from celeriac.testing.django import published_tasks  # noqa: E402

__all__ = ["published_tasks"]


@pytest.fixture(scope="session", autouse=True)
def project() -> Iterator[None]:
    """Databases with their tables, and Django's surroundings for tests."""
    setup_test_environment()
    databases = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(databases, verbosity=0)
    teardown_test_environment()
