"""The Celery app that a Django process publishes with."""

from __future__ import annotations

from typing import Any

from celery import _state

__all__ = ["project_app"]


def project_app() -> Any:
    """Return the app that ``shared_task`` and ``current_app`` stand for; None if the project made none.

    What Celery makes up by itself where there is no app counts as none.
    """
    app = _state._tls.current_app or _state.default_app
    return None if app is None or _is_made_up(app) else app


def _is_made_up(app: Any) -> bool:
    return app.main == "default" and not app.set_as_current
