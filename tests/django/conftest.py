from __future__ import annotations

from tests.django.postgres import postgres

__all__ = ["postgres"]
