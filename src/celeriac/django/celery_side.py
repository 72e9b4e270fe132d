"""What Django's side asks of Celery's, which it must not import."""

from __future__ import annotations

from typing import Protocol

__all__ = ["CelerySide"]


class CelerySide(Protocol):
    """Made once, when Django has imported all models."""

    def join(self) -> None:
        """The process has a Celery app, and ``manage.py check`` looks at it."""
        ...
