"""A Django project, as the app sees it: asked late, since the app is made before Django is set up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.django import steps
from celeriac.bridge.django.references import References
from celeriac.bridge.django.relay_step import RelayStep
from celeriac.bridge.outgoing import Departures
from celeriac.core.watch import Backlogs

__all__ = ["DjangoFramework"]

_NAME = "celeriac.django"
#: Named and not imported, as models can only be imported once Django is set up.
_DESK = "celeriac.bridge.django.desk.OutboxDesk"
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
        app.steps["worker"].add(RelayStep)
        if not app._custom_task_cls_used:
            app.task_cls = _TASK

    @property
    def departures(self) -> Departures | None:
        if not self._decided and apps.ready:
            self._decided = True
            if self.has_outbox and read_settings(self._app).outbox_enabled:
                self._departures = Departures(self.desk.outbox)
        return self._departures

    @property
    def has_outbox(self) -> bool:
        """Whether the project has the tables of an outbox, once it has migrated."""
        return bool(apps.ready and apps.is_installed(_NAME))

    @property
    def backlogs(self) -> Backlogs | None:
        found: Backlogs | None = self.desk.backlogs if self.has_outbox else None
        return found

    @cached_property
    def desk(self) -> Any:
        """What can be done with the outbox of the project."""
        return import_string(_DESK)(self._app)

    def implied_options(self, cls: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        return steps.implied_options(cls, options)

    def equip(self, task: Any) -> None:
        steps.equip(task)

    def outgoing(self, value: Any) -> Any:
        return self._references.outgoing(value)

    def task_class(self, base: type[Any]) -> type[Any]:
        found: type[Any] = import_string(_WITH_ROWS)(base)
        return found
