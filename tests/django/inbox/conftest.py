"""A server of their own for tests that break its connections."""

from tests.django.postgres import postgres

__all__ = ["postgres"]
