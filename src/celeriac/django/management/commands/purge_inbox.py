"""``manage.py purge_inbox``: what is older than it is to be remembered is gone."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from celeriac.core.settings import Settings
from celeriac.django import inbox_table
from celeriac.django.old_rows import purge

__all__ = ["Command"]


class Command(BaseCommand):
    help = "Delete what is older than inbox_retention_seconds from the inbox, as workers do by and by."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--database", help="the database whose inbox is meant, by its alias")
        parser.add_argument("--older-than", type=float, metavar="SECONDS", help="instead of the setting")

    def handle(self, *_: Any, **options: Any) -> None:
        seconds = options["older_than"]
        if seconds is None:
            kept = Settings().inbox_retention_seconds
            seconds = float(getattr(settings, "CELERY_INBOX_RETENTION_SECONDS", kept))
        deleted = purge(inbox_table.delete_before, inbox_table.database(options["database"]), seconds)
        self.stdout.write(f"{deleted} entries deleted")
