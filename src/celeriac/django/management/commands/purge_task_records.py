"""``manage.py purge_task_records``: the records of tasks that finished long ago are gone."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import router

from celeriac.django.models import TaskRecord
from celeriac.django.old_rows import purge
from celeriac.django.tasks.old_records import delete_finished_before

__all__ = ["Command"]


class Command(BaseCommand):
    help = (
        "Delete records of tasks of Django's framework that finished longer than"
        " task_records_retention_seconds ago, as workers do by and by."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--database", help="the database whose records are meant, by its alias")
        parser.add_argument("--older-than", type=float, metavar="SECONDS", help="instead of the setting")

    def handle(self, *_: Any, **options: Any) -> None:
        seconds = options["older_than"]
        if seconds is None:
            settings = apps.get_app_config("celeriac").celery_side.settings()
            seconds = settings.task_records_retention_seconds
        database = options["database"] or router.db_for_write(TaskRecord)
        deleted = purge(delete_finished_before, database, seconds)
        self.stdout.write(f"{deleted} records deleted")
