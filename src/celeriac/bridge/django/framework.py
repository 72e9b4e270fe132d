"""A Django project, as the app sees it: asked late, since the app is made before Django is set up."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django.references import References
from celeriac.bridge.outgoing import Departures

__all__ = ["DjangoFramework"]

_NAME = "celeriac.django"
#: Named and not imported, as models can only be imported once Django is set up.
_OUTBOX = "celeriac.django.outbox.TransactionalOutbox"
_TASK = "celeriac.bridge.django.task:DjangoTask"
_WITH_ROWS = "celeriac.bridge.django.row_arguments.with_row_arguments"


class DjangoFramework:
    """Attached to one app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._departures: Departures | None = None
        self._decided = False
        self._references = References(app)
        app.framework = self
        if not app._custom_task_cls_used:
            app.task_cls = _TASK

    @property
    def departures(self) -> Departures | None:
        if not self._decided and apps.ready:
            self._decided = True
            if apps.is_installed(_NAME) and read_settings(self._app).outbox_enabled:
                self._departures = Departures(import_string(_OUTBOX)())
        return self._departures

    def outgoing(self, value: Any) -> Any:
        return self._references.outgoing(value)

    def task_class(self, base: type[Any]) -> type[Any]:
        found: type[Any] = import_string(_WITH_ROWS)(base)
        return found
