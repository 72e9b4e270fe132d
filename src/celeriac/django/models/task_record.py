"""What Django's Tasks framework knows of a task: written with the message, updated by the worker."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["TaskRecord"]


class TaskRecord(models.Model):
    """One call of a task of Django's Tasks framework."""

    class Status(models.TextChoices):
        """The states of ``TaskResultStatus``."""

        READY = "READY", _("Ready")
        RUNNING = "RUNNING", _("Running")
        FAILED = "FAILED", _("Failed")
        SUCCESSFUL = "SUCCESSFUL", _("Successful")

    id = models.CharField(_("id"), primary_key=True, max_length=64)
    #: The alias of the backend, and the path of the function.
    backend = models.CharField(_("backend"), max_length=255)
    path = models.CharField(_("path"), max_length=255)
    queue_name = models.CharField(_("queue"), max_length=255)
    priority = models.SmallIntegerField(_("priority"), default=0)
    args = models.JSONField(_("args"), default=list)
    kwargs = models.JSONField(_("kwargs"), default=dict)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.READY)
    run_after = models.DateTimeField(_("run after"), null=True, blank=True)
    enqueued_at = models.DateTimeField(_("enqueued at"), db_index=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    last_attempted_at = models.DateTimeField(_("last attempted at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True, db_index=True)
    return_value = models.JSONField(_("return value"), null=True, blank=True)
    #: A class path and a traceback for each attempt that failed.
    errors = models.JSONField(_("errors"), default=list)
    #: One for each attempt.
    worker_ids = models.JSONField(_("worker ids"), default=list)
    #: How many attempts there had been when the latest message was sent; earlier messages are stale.
    sent_after = models.PositiveIntegerField(_("attempts before the latest message"), default=0)

    class Meta:
        verbose_name = _("task record")
        verbose_name_plural = _("task records")
        permissions = (("retry_taskrecord", _("Can run failed tasks again")),)

    def __str__(self) -> str:
        return f"{self.path}[{self.id}]"
