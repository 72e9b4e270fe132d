"""A server whose databases these tests may fill as they like."""

from tests.django.postgres import postgres

__all__ = ["postgres"]
