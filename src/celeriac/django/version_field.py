"""A column that counts the changes of its row."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db.models import F, Model, PositiveBigIntegerField
from django.forms import Field, HiddenInput
from django.utils.translation import gettext_lazy as _

from celeriac.django.row_version import declare_version

__all__ = ["VersionField"]


class VersionField(PositiveBigIntegerField):
    """Starts at 1 and grows by 1 with every save of a :class:`~celeriac.django.versioned.Versioned` model.

    In forms it is a hidden number: the version that the user has seen.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("verbose_name", _("version"))
        kwargs.setdefault("default", 1)
        super().__init__(*args, **kwargs)

    def contribute_to_class(self, cls: type[Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only=private_only)
        declare_version(cls, self)

    def read_at(self, instance: Model) -> str | None:
        return f"i:{getattr(instance, self.attname)}"

    def at_call(self, instance: Model) -> str | None:
        return self.read_at(instance)

    def expected(self, instance: Model) -> dict[str, Any]:
        """Return the filter that finds the row if it is still as the instance was read."""
        return {self.attname: getattr(instance, self.attname)}

    def next_value(self) -> Any:
        """Return what an UPDATE sets the column to."""
        return F(self.attname) + 1

    def saved(self, instance: Model, using: str) -> None:  # noqa: ARG002 - nothing is to be read
        """The instance is at the version that its UPDATE has made."""
        setattr(instance, self.attname, getattr(instance, self.attname) + 1)

    def formfield(self, **kwargs: Any) -> Field | None:
        found: Field | None = super().formfield(**{**kwargs, "widget": HiddenInput, "required": False})
        return found

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = super().check(**kwargs)
        if not hasattr(self.model, "compare_and_save"):
            found.append(
                checks.Warning(
                    f"{self.model._meta.label} has a VersionField that nothing increases.",
                    hint="Let the model inherit from celeriac.django.versioned.Versioned.",
                    obj=self,
                    id="celeriac.W101",
                )
            )
        return found
