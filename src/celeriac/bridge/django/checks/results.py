"""Whether results that the settings ask for have a place."""

from __future__ import annotations

from typing import Any, Final

from django.core.checks import CheckMessage
from django.core.checks import Warning as Warned

__all__ = ["check_results"]

#: Settings that mean something only where results are stored.
_ASK_FOR_RESULTS: Final = (
    "result_extended",
    "result_persistent",
    "task_store_errors_even_if_ignored",
    "task_track_started",
)


def check_results(app: Any) -> list[CheckMessage]:
    """W040: results are asked for, and stored nowhere."""
    conf = app.conf
    if conf.result_backend or app.backend_cls:
        return []
    asking = [f"CELERY_{setting.upper()}" for setting in _ASK_FOR_RESULTS if conf.get(setting)]
    if conf.task_ignore_result:
        asking += [f"the task {name}" for name, task in app.tasks.items() if _asks(name, task)]
    if not asking:
        return []
    return [
        Warned(
            f"No result backend is set, so that results are lost; they are asked for by {', '.join(asking)}.",
            hint="Set CELERY_RESULT_BACKEND.",
            id="celeriac.W040",
        )
    ]


def _asks(name: str, task: Any) -> bool:
    return not name.startswith("celery.") and task.ignore_result is False
