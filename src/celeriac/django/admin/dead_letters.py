"""What the broker will not deliver again by itself: read from there, put back into its queue, or dropped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from celeriac.core.errors import CeleriacError
from celeriac.django.admin.arguments import shown_text
from celeriac.django.admin.read_only import ReadOnlyAdmin
from celeriac.django.celery_side import Letter
from celeriac.django.models import DeadLetter

__all__ = ["DeadLetterAdmin"]

_PAGE: Final = 50


class _Deed(NamedTuple):
    """What can be done to letters; also the permission for it, and the method of Celery's side."""

    name: str
    text: Any


_DEEDS: Final = (
    _Deed("retry", _("Put the selected letters back into their queues")),
    _Deed("drop", _("Drop the selected letters")),
)


class _Row(NamedTuple):
    id: str
    task: str | None
    task_id: str | None
    arguments: str
    queue: str
    reason: str
    deliveries: int
    died: datetime


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """One page; whoever may do nothing with letters sees them without buttons."""

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            self._act(request, request.POST.get("deed"), request.POST.getlist("id"))
            return HttpResponseRedirect(request.path)
        offset = _number(request.GET.get("offset"))
        letters = self._letters(request, offset)
        context = {
            **self.admin_site.each_context(request),
            "title": self.opts.verbose_name_plural,
            "opts": self.opts,
            "letters": [_row(letter) for letter in letters[:_PAGE]],
            "deeds": [deed for deed in _DEEDS if self._may(request, deed)],
            "previous": max(0, offset - _PAGE) if offset else None,
            "next": offset + _PAGE if len(letters) > _PAGE else None,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/celeriac/deadletter/change_list.html", context)

    def _letters(self, request: Any, offset: int) -> list[Letter]:
        try:
            found: list[Letter] = _celery_side().dead_letters(offset, _PAGE + 1)
        except CeleriacError as error:
            self.message_user(request, str(error), messages.ERROR)
            return []
        return found

    def _act(self, request: Any, name: str | None, ids: list[str]) -> None:
        deed = next((deed for deed in _DEEDS if deed.name == name), None)
        if deed is None or not self._may(request, deed):
            raise PermissionDenied
        side = _celery_side()
        try:
            count = side.retry_dead(ids) if deed.name == "retry" else side.drop_dead(ids)
        except CeleriacError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        if deed.name == "retry":
            text = ngettext("%d letter is in its queue again.", "%d letters are in queues again.", count)
        else:
            text = ngettext("%d letter was dropped.", "%d letters were dropped.", count)
        self.message_user(request, text % count, messages.SUCCESS if count else messages.WARNING)

    def _may(self, request: Any, deed: _Deed) -> bool:
        return bool(request.user.has_perm(f"celeriac.{deed.name}_deadletter"))


def _celery_side() -> Any:
    return apps.get_app_config("celeriac").celery_side


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _row(letter: Letter) -> _Row:
    return _Row(
        id=letter.id,
        task=letter.task,
        task_id=letter.task_id,
        arguments=shown_text(letter.task or "", letter.args, letter.kwargs),
        queue=letter.queue,
        reason=letter.reason,
        deliveries=letter.deliveries,
        died=datetime.fromtimestamp(letter.died, UTC),
    )
