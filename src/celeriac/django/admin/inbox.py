"""What has been processed, and will not be again."""

from __future__ import annotations

from django.contrib import admin

from celeriac.django.admin.read_only import ReadOnlyAdmin
from celeriac.django.models import InboxEntry

__all__ = ["InboxEntryAdmin"]


@admin.register(InboxEntry)
class InboxEntryAdmin(ReadOnlyAdmin):
    list_display = ("consumer", "key", "created")
    list_filter = ("consumer", "created")
    search_fields = ("consumer", "key")
    ordering = ("-created",)
    fields = ("consumer", "key", "created", "fingerprint")
