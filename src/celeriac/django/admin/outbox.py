"""What waits for its broker, and what the broker refused for good."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from celeriac.django.admin.arguments import shown_text
from celeriac.django.admin.read_only import ReadOnlyAdmin
from celeriac.django.models import DeadOutboxMessage, OutboxMessage
from celeriac.django.replay import replay

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
        count = replay(dead.db, list(dead.values_list("pk", flat=True)))
        text = ngettext("%d message is in the outbox again.", "%d messages are in the outbox again.", count)
        self.message_user(request, text % count, messages.SUCCESS)
