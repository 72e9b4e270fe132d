"""What the web framework that an app runs in adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isclass
from typing import Any, Protocol

from celeriac.bridge.outgoing import Departures
from celeriac.core.errors import ConfigurationError
from celeriac.core.watch import Backlogs

__all__ = ["Framework", "equip", "imply", "options_with_implied"]

#: Options of a task that mean something inside of a framework only.
_NEEDING_ONE = ("idempotent", "idempotency_key")


class Framework(Protocol):
    """Found by a fix-up, as Celery calls it, when the app is made."""

    @property
    def departures(self) -> Departures | None:
        """What keeps messages for the commit of a transaction; None if nothing does."""
        ...

    @property
    def backlogs(self) -> Backlogs | None:
        """What measures the outboxes of the project, once it is set up; None if it has none."""
        ...

    def implied_options(self, cls: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that follow from those of such a task, as far as nobody has set them."""
        ...

    def equip(self, task: Any) -> None:
        """The task, which has been registered, does what its options ask for."""
        ...

    def outgoing(self, value: Any) -> Any:
        """Return arguments of a call with what travels in place of the framework's own objects.

        Raises :class:`~celeriac.core.errors.UnreferableObject` for one that cannot travel.
        """
        ...

    def task_class(self, base: type[Any]) -> type[Any]:
        """Return the Task class with what a task of the framework has."""
        ...


def options_with_implied(
    framework: Framework | None, base: type[Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Return a task's options with those that follow from them."""
    return {**options, **framework.implied_options(base, options)} if framework is not None else options


def imply(framework: Framework | None, task: Any) -> None:
    """The same for a class that is a task, or an instance of one: its class has them."""
    cls = task if isclass(task) else type(task)
    for name, value in options_with_implied(framework, cls, {}).items():
        setattr(cls, name, value)


def equip(framework: Framework | None, task: Any) -> None:
    """The task does what its options ask for; raise ConfigurationError if nothing here can do it."""
    if framework is not None:
        framework.equip(task)
        return
    for option in _NEEDING_ONE:
        if getattr(task, option, None):
            raise ConfigurationError(
                f"{task.name} has {option}=..., which needs a Django project: set DJANGO_SETTINGS_MODULE"
                " before the app is made"
            )
