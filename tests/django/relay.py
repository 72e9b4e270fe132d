"""``celeriac outbox relay`` with failpoints inside: ``python -m tests.django.relay [OPTIONS]``."""

from __future__ import annotations

import sys

import django

import tests.django.shop.celery  # noqa: F401 - first, as it names the settings
from tests.django.failpoints import install

django.setup()

from celeriac.cli import celery_command  # noqa: E402

if __name__ == "__main__":
    install()
    celery_command(["-A", "tests.django.shop.celery", "outbox", "relay", *sys.argv[1:]])
