"""Calls of tasks of Django's framework, and failed ones to be run again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.utils.html import format_html_join
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from celeriac.django.admin.arguments import HIDDEN, shown
from celeriac.django.admin.read_only import ReadOnlyAdmin
from celeriac.django.models import TaskRecord

__all__ = ["TaskRecordAdmin"]

#: Named and not imported, as the framework is optional before Django 6.
_RUN_AGAIN = "celeriac.django.tasks.records.run_again"


@admin.register(TaskRecord)
class TaskRecordAdmin(ReadOnlyAdmin):
    list_display = ("path", "arguments", "status", "attempts", "last_error", "enqueued_at", "finished_at")
    list_filter = ("status", "path", "queue_name", "backend", "enqueued_at")
    search_fields = ("id", "path")
    ordering = ("-enqueued_at",)
    date_hierarchy = "enqueued_at"
    actions = ("retry",)
    fieldsets = (
        (None, {"fields": ("path", "id", "arguments", "status", "returned")}),
        (_("When and where"), {"fields": ("backend", "queue_name", "priority", "run_after", "enqueued_at")}),
        (
            _("Attempts"),
            {"fields": ("attempts", "started_at", "last_attempted_at", "finished_at", "workers", "failures")},
        ),
    )

    def has_retry_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm("celeriac.retry_taskrecord"))

    @admin.action(description=_("Run the selected failed tasks again"), permissions=["retry"])
    def retry(self, request: Any, records: Any) -> None:
        count = import_string(_RUN_AGAIN)(list(records.values_list("pk", flat=True)))
        text = ngettext("%d failed task runs again.", "%d failed tasks run again.", count)
        self.message_user(request, text % count, messages.SUCCESS if count else messages.WARNING)

    @admin.display(description=_("arguments"))
    def arguments(self, record: Any) -> str:
        return shown(record.path, record.args, record.kwargs)

    @admin.display(description=_("return value"))
    def returned(self, record: Any) -> str:
        return "" if record.return_value is None else shown(record.path, [record.return_value], {})

    @admin.display(description=_("attempts"))
    def attempts(self, record: Any) -> int:
        return len(record.worker_ids)

    @admin.display(description=_("workers"))
    def workers(self, record: Any) -> str:
        return ", ".join(record.worker_ids)

    @admin.display(description=_("last error"))
    def last_error(self, record: Any) -> str:
        return str(record.errors[-1][0]).removeprefix("builtins.") if record.errors else ""

    @admin.display(description=_("errors"))
    def failures(self, record: Any) -> str:
        """Tracebacks may quote arguments, so that they are hidden with them."""
        if shown(record.path, [], {}) == HIDDEN:
            return ", ".join(path for path, _traceback in record.errors)
        found: str = format_html_join(
            "", "<pre>{}</pre>", ((traceback,) for _path, traceback in record.errors)
        )
        return found
