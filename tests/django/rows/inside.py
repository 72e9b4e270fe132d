"""A pytest plugin for the process in which the cases run: Django is set up, and its tables are made."""

from __future__ import annotations

import django
import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections


def pytest_configure(config: pytest.Config) -> None:
    django.setup()
    for alias in connections:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)


@pytest.fixture(autouse=True)
def empty_tables() -> None:
    """Every case begins with empty tables."""
    get_user_model().objects.all().delete()
    for alias in connections:
        for model in apps.get_app_config("shop").get_models():
            model._base_manager.using(alias).all().delete()
