"""Celery, as Django's side asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.utils.module_loading import import_string

from celeriac.bridge.django import in_process
from celeriac.bridge.django.checks import register_checks
from celeriac.bridge.django.framework_tasks import listen_for_lost, send_call
from celeriac.bridge.django.project_app import project_app
from celeriac.core.outbox import Outbox, Outgoing
from celeriac.django.celery_side import Published, TaskCall

__all__ = ["DjangosCelery"]

#: Named and not imported, as importing it makes an app.
_DEFAULT_APP = "celeriac.django.celery.app"


class DjangosCelery:
    """Fulfils :class:`celeriac.django.celery_side.CelerySide`."""

    def join(self) -> None:
        if project_app() is None:
            import_string(_DEFAULT_APP)
        register_checks()
        listen_for_lost()

    def run_later(self, call: TaskCall) -> None:
        send_call(project_app(), call)

    def keeping(self, outbox: Outbox) -> AbstractContextManager[None]:
        return in_process.keeping(project_app(), outbox)

    def read(self, outgoing: Outgoing) -> Published:
        return in_process.read(project_app(), outgoing)

    def run(self, outgoing: Outgoing) -> BaseException | None:
        return in_process.run(project_app(), outgoing)
