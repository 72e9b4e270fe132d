"""What has been processed, written in the transaction of its effects."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["InboxEntry"]


class InboxEntry(models.Model):
    """One thing that was done, and will not be done again."""

    #: Who did it: a task's name, or what other code calls itself.
    consumer = models.CharField(_("consumer"), max_length=255)
    key = models.CharField(_("key"), max_length=255)
    #: Of the arguments: the same key with others is a mistake.
    fingerprint = models.CharField(_("fingerprint"), max_length=64, blank=True, default="")
    #: As JSON; null where nothing was returned yet.
    result = models.TextField(_("result"), null=True, blank=True)
    created = models.DateTimeField(_("created"), db_index=True)

    class Meta:
        verbose_name = _("inbox entry")
        verbose_name_plural = _("inbox entries")
        constraints = (models.UniqueConstraint(fields=["consumer", "key"], name="celeriac_inbox_once"),)

    def __str__(self) -> str:
        return f"{self.consumer}: {self.key}"
