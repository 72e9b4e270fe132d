"""Celery's command line with the app of the Django project, where ``-A`` names no other."""

from __future__ import annotations

from collections.abc import Sequence

from celery.bin.celery import celery

from celeriac.bridge.django.project_app import project_app

__all__ = ["run"]


def run(arguments: Sequence[str]) -> None:
    """Run the command and exit."""
    celery.main(
        args=list(arguments),
        prog_name="manage.py celery",
        auto_envvar_prefix="CELERY",
        default_map={"app": project_app()},
    )
