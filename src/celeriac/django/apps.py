"""The Django app ``celeriac``."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["CeleriacConfig"]


class CeleriacConfig(AppConfig):
    name = "celeriac.django"
    label = "celeriac"
    verbose_name = "Celeriac"
    default_auto_field = "django.db.models.BigAutoField"
