"""Connects the receivers when Django starts."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"

    def ready(self) -> None:
        from . import signals  # noqa: F401 - Django's own way: models must be loaded first
