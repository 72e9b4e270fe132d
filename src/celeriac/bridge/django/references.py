"""kombu's JSON knows model instances and references to them: how they are written, and read."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import Model
from kombu.utils.json import register_type

from celeriac.bridge.configuration import read_settings
from celeriac.core.errors import UnreferableObject
from celeriac.django.model_ref import MARKER, ModelRef
from celeriac.django.references import ReferenceRules

__all__ = ["References"]

_NAME = "celeriac.django"


class References:
    """What an app in a Django project writes instead of model instances, and reads.

    kombu's JSON belongs to the process, so that of several apps the last one says what is forbidden.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._rules: ReferenceRules | None = None
        self._installed: bool | None = None
        register_type(Model, MARKER, self._write, self._read)

    @property
    def rules(self) -> ReferenceRules:
        """Which models may be referred to, as the app's settings say."""
        if self._rules is None:
            self._rules = ReferenceRules(read_settings(self._app).references_forbidden)
        return self._rules

    @property
    def installed(self) -> bool:
        """Whether Django is set up, with ``celeriac.django``."""
        if self._installed is None and apps.ready:
            self._installed = apps.is_installed(_NAME)
        return bool(self._installed)

    def outgoing(self, value: Any) -> Any:
        """Return the value with a reference for each model instance in it."""
        return self.rules.outgoing(value) if self.installed else value

    def _write(self, instance: Model) -> dict[str, Any]:
        if not self.installed:
            name = instance._meta.label
            raise UnreferableObject(
                f"{name} is no plain data: add {_NAME!r} to INSTALLED_APPS, or hand over its pk"
            )
        return self.rules.refer(instance).wire()

    def _read(self, wire: Any) -> ModelRef:
        return self.rules.arrived(wire)
