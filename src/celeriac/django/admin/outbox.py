"""What waits for its broker, and what the broker refused for good."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.db import transaction
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from celeriac.django.admin.arguments import shown_text
from celeriac.django.admin.read_only import ReadOnlyAdmin
from celeriac.django.models import DeadOutboxMessage, OutboxMessage

__all__ = ["DeadOutboxMessageAdmin", "OutboxMessageAdmin"]

_MESSAGE = ("task", "task_id", "arguments", "queue", "exchange", "ordering_key", "priority", "due")
_HISTORY = ("created", "attempts", "error")


class _StoredMessageAdmin(ReadOnlyAdmin):
    search_fields = ("task", "task_id", "ordering_key")
    ordering = ("-id",)

    @admin.display(description=_("arguments"))
    def arguments(self, message: Any) -> str:
        told = apps.get_app_config("celeriac").celery_side.tell(bytes(message.payload))
        return shown_text(message.task, *told)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(_StoredMessageAdmin):
    list_display = ("id", "task", "arguments", "queue", "ordering_key", "created", "attempts", "error")
    list_filter = ("queue", "created")
    fields = (*_MESSAGE, *_HISTORY)


@admin.register(DeadOutboxMessage)
class DeadOutboxMessageAdmin(_StoredMessageAdmin):
    list_display = ("id", "task", "arguments", "queue", "died", "attempts", "error")
    list_filter = ("queue", "died")
    fields = (*_MESSAGE, *_HISTORY, "died")
    actions = ("replay",)

    def has_replay_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm("celeriac.replay_deadoutboxmessage"))

    @admin.action(description=_("Send the selected messages again"), permissions=["replay"])
    def replay(self, request: Any, dead: Any) -> None:
        count = _put_back(dead)
        text = ngettext("%d message is in the outbox again.", "%d messages are in the outbox again.", count)
        self.message_user(request, text % count, messages.SUCCESS)


def _put_back(dead: Any) -> int:
    """Move the dead messages to the end of the outbox, byte for byte; return how many."""
    names = [field.name for field in DeadOutboxMessage._meta.fields if field.name not in _ANEW]
    with transaction.atomic(using=dead.db):
        rows = list(dead.select_for_update().order_by("id"))
        OutboxMessage.objects.using(dead.db).bulk_create(
            OutboxMessage(**{name: getattr(row, name) for name in names}) for row in rows
        )
        DeadOutboxMessage.objects.using(dead.db).filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


#: What a message that is sent again has no more.
_ANEW = frozenset({"id", "attempts", "error", "died"})
