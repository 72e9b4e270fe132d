"""Arguments of tasks, as far as people may see them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from django.apps import apps
from django.views.debug import SafeExceptionReporterFilter

__all__ = ["HIDDEN", "shown", "shown_text"]

_DJANGOS: Final = SafeExceptionReporterFilter()
#: What stands for what is not shown, as in Django's error pages.
HIDDEN: Final = _DJANGOS.cleansed_substitute
#: The names of keyword arguments in the text that a message carries of them.
_NAMES: Final = re.compile(r"'(\w+)':")


def shown(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the arguments as text; values whose names Django hides in its error pages are hidden here."""
    if _is_hidden(task):
        return str(HIDDEN)
    parts = [*map(_text, map(_cleansed, args))]
    parts += [f"{name}={_text(_cleansed_value(name, value))}" for name, value in kwargs.items()]
    return ", ".join(parts)


def shown_text(task: str, args: str | None, kwargs: str | None) -> str:
    """Return the text that a message carries of its arguments, which its producer may have chosen."""
    if _is_hidden(task):
        return str(HIDDEN)
    if kwargs and any(map(_DJANGOS.hidden_settings.search, _NAMES.findall(kwargs))):
        kwargs = HIDDEN
    return " ".join(part for part in (args, kwargs) if part and part not in ("()", "{}"))


def _is_hidden(task: str) -> bool:
    patterns = apps.get_app_config("celeriac").celery_side.settings().admin_hide_arguments
    return any(fnmatchcase(task, pattern) for pattern in patterns)


def _cleansed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cleansed_value(name, item) for name, item in value.items()}
    return [_cleansed(item) for item in value] if isinstance(value, list) else value


def _cleansed_value(name: str, value: Any) -> Any:
    return HIDDEN if _DJANGOS.hidden_settings.search(name) else _cleansed(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
