"""pytest's fixture for tasks of Django projects: ``pytest_plugins = ["celeriac.testing.django"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.django.test import PublishedTasks, keep_published

__all__ = ["published_tasks"]


@pytest.fixture
def published_tasks() -> Iterator[PublishedTasks]:
    """What the test publishes; nothing of it goes to a broker, and ``drain()`` runs it."""
    with keep_published() as tasks:
        yield tasks
