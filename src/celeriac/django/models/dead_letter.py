"""The broker's dead letters have no table: this is a name to give permissions and a page in the admin to."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["DeadLetter"]


class _Nothing(models.Manager["DeadLetter"]):
    """Whoever asks the database, as ``manage.py dumpdata`` does, is told that there are none."""

    def get_queryset(self) -> Any:
        return super().get_queryset().none()


class DeadLetter(models.Model):
    """A message that the broker will not deliver again by itself; it is read from there."""

    id = models.CharField(_("id"), primary_key=True, max_length=255)
    objects = _Nothing()

    class Meta:
        managed = False
        base_manager_name = "objects"
        verbose_name = _("dead letter of the broker")
        verbose_name_plural = _("dead letters of the broker")
        default_permissions = ("view",)
        permissions = (
            ("retry_deadletter", _("Can put dead letters back into their queues")),
            ("drop_deadletter", _("Can drop dead letters")),
        )

    def __str__(self) -> str:
        return str(self.id)
