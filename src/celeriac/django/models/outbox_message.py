"""Messages that were published inside a transaction and have not left for the broker yet."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["DeadOutboxMessage", "OutboxMessage"]


class _StoredMessage(models.Model):
    """A rendered message, as it goes to the broker byte for byte."""

    #: Rows leave in the order of their ids.
    id = models.BigAutoField(primary_key=True)
    task_id = models.CharField(_("task id"), max_length=255)
    task = models.CharField(_("task"), max_length=255)
    #: With an exchange it is a routing key.
    queue = models.CharField(_("queue"), max_length=255)
    exchange = models.CharField(_("exchange"), max_length=255, blank=True, default="")
    payload = models.BinaryField(_("payload"))
    priority = models.SmallIntegerField(_("priority"), default=0)
    #: Unix seconds before which the broker does not hand it out.
    due = models.FloatField(_("due"), null=True, blank=True)
    ordering_key = models.CharField(_("ordering key"), max_length=255, null=True, blank=True)
    #: How often the broker has refused it; a broker that is away does not count.
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    error = models.TextField(_("last error"), blank=True, default="")
    created = models.DateTimeField(_("created"))

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.task}[{self.task_id}]"


class OutboxMessage(_StoredMessage):
    """A message that leaves once its transaction has been committed."""

    #: Until when nobody else takes it, where the database cannot skip locked rows.
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        indexes = (
            models.Index(
                fields=["ordering_key", "id"],
                name="celeriac_outbox_order",
                condition=models.Q(ordering_key__isnull=False),
            ),
        )


class DeadOutboxMessage(_StoredMessage):
    """A message that the broker refused for good; it can be replayed."""

    died = models.DateTimeField(_("died"))

    class Meta:
        verbose_name = _("dead outbox message")
        verbose_name_plural = _("dead outbox messages")
        permissions = (("replay_deadoutboxmessage", _("Can send dead messages again")),)
