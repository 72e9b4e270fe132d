"""The command ``celeriac worker``: Celery's own, without what only Celery's other commands import."""

from __future__ import annotations

from typing import Any

import celery
import click
from celery.bin.base import CeleryCommand, CLIContext
from celery.bin.worker import worker as celery_worker

from celeriac.bridge.find_app import find_app

__all__ = ["worker"]

#: Celery's command line reads ``CELERY_WORKER_CONCURRENCY`` and the like.
_ENVIRONMENT = "CELERY_WORKER"
_HELP = """Start a worker, as celery worker does: with every option of it, in less memory.

\b
Examples:
  celeriac -A proj worker -c 8 -l info
  celeriac -A proj worker -Q high:3,low:1
"""


class WorkerCommand(CeleryCommand):
    """Knows the app before it reads its options, as some of these ask the app and others are the app's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context, **extra: Any
    ) -> click.Context:
        parent.obj = CLIContext(app=_app(parent.obj, args), no_color=False, workdir=None)
        options = parent.obj.app.user_options
        wanted = [*options.get("worker", ()), *options.get("preload", ())]
        # Below the celery command they are there already.
        self.params.extend(option for option in wanted if option not in self.params)
        context: click.Context = super().make_context(
            info_name, args, parent, auto_envvar_prefix=_ENVIRONMENT, **extra
        )
        return context


def _app(name: Any, args: list[str]) -> Any:
    """Return the app; without one there is only the help."""
    if not name and "--help" in args:
        return None
    celery.maybe_patch_concurrency(["worker", *args])
    return find_app(name)


worker = WorkerCommand(
    "worker",
    help=_HELP,
    short_help="Start a worker, in less memory.",
    callback=celery_worker.callback,
    params=[*celery_worker.params],
    context_settings=celery_worker.context_settings,
)
