"""``manage.py celery ...``: Celery's own command line, on the project's app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, handle_default_options
from django.utils.module_loading import import_string

__all__ = ["Command"]

#: Named and not imported, as only Celery's side knows Celery's command line.
_COMMAND_LINE = "celeriac.bridge.django.command_line.run"


class Command(BaseCommand):
    help = "Celery's own command line, on the project's app: manage.py celery worker -l info"
    requires_system_checks = ()  # workers run the checks themselves

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Everything but Django's own ``--settings`` and ``--pythonpath`` is handed on as it is."""
        djangos = CommandParser(add_help=False, allow_abbrev=False)
        djangos.add_argument("--settings")
        djangos.add_argument("--pythonpath")
        options, others = djangos.parse_known_args(list(argv[2:]))
        handle_default_options(options)
        import_string(_COMMAND_LINE)(others)

    def handle(self, *_: Any, **__: Any) -> None:
        raise CommandError("call_command cannot run it: use the app itself, or subprocess")
