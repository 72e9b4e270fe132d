"""Celery, as Django's side asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from django.utils.module_loading import import_string

from celeriac.bridge.app import Celery
from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django import dead_letters, in_process
from celeriac.bridge.django.checks import register_checks
from celeriac.bridge.django.framework import DjangoFramework
from celeriac.bridge.django.framework_tasks import listen_for_lost, send_call
from celeriac.bridge.django.project_app import project_app
from celeriac.bridge.letters import tell
from celeriac.core.outbox import Outbox, Outgoing
from celeriac.core.settings import Settings
from celeriac.django.celery_side import Letter, Published, TaskCall

__all__ = ["DjangosCelery"]

#: Named and not imported, as importing it makes an app.
_DEFAULT_APP = "celeriac.django.celery.app"


class DjangosCelery:
    """Fulfils :class:`celeriac.django.celery_side.CelerySide`."""

    def join(self) -> None:
        if project_app() is None:
            import_string(_DEFAULT_APP)
        app = project_app()
        if isinstance(app, Celery) and app.framework is None:
            DjangoFramework(app)  # made where no environment variable names the settings
        register_checks()
        listen_for_lost()

    def run_later(self, call: TaskCall) -> None:
        send_call(project_app(), call)

    def settings(self) -> Settings:
        return read_settings(project_app())

    def tell(self, payload: bytes) -> tuple[str | None, str | None]:
        told = tell(payload)
        return told.args, told.kwargs

    def dead_letters(self, offset: int, limit: int) -> list[Letter]:
        return dead_letters.read(project_app(), offset, limit)

    def retry_dead(self, ids: Sequence[str]) -> int:
        return dead_letters.retry(project_app(), ids)

    def drop_dead(self, ids: Sequence[str]) -> int:
        return dead_letters.drop(project_app(), ids)

    def keeping(self, outbox: Outbox) -> AbstractContextManager[None]:
        return in_process.keeping(project_app(), outbox)

    def read(self, outgoing: Outgoing) -> Published:
        return in_process.read(project_app(), outgoing)

    def run(self, outgoing: Outgoing) -> BaseException | None:
        return in_process.run(project_app(), outgoing)
