"""A Django project, as the app sees it: asked late, since the app is made before Django is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django import steps
from celeriac.bridge.django.retries import leave_at_once
from celeriac.bridge.outgoing import Departures

__all__ = ["DjangoFramework"]

_NAME = "celeriac.django"
#: Named and not imported, as models can only be imported once Django is set up.
_OUTBOX = "celeriac.django.outbox.TransactionalOutbox"
_TASK = "celeriac.bridge.django.task:DjangoTask"


class DjangoFramework:
    """Attached to one app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._departures: Departures | None = None
        self._decided = False
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

    def implied_options(self, cls: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        return steps.implied_options(cls, options)

    def equip(self, task: Any) -> None:
        leave_at_once(task)
        steps.equip(task)
