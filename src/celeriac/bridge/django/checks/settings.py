"""Whether every setting with Celery's prefix is one that exists, with a value that can be used."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Warned

from celeriac.bridge.configuration import read_settings
from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import PREFIXES, Settings

__all__ = ["check_settings"]

#: Read by Celery's integration with Django, and not part of its configuration.
_OF_THE_INTEGRATION: Final = frozenset({"db_reuse_max", "skip_checks", "loader"})
_KNOWN: Final = frozenset({*SETTING_KEYS, *_OF_THE_INTEGRATION, *Settings.__struct_fields__})
#: How like another name one must be to be taken for a misspelling; projects have settings of their own, too.
_ALIKE: Final = 0.84


def check_settings(app: Any) -> list[CheckMessage]:
    """E010: a setting of Celeriac's is unknown or has a bad value. W011: one of Celery's looks misspelt."""
    return [*_check_celeriacs(app), *_check_celerys(app)]


def _check_celeriacs(app: Any) -> Iterator[CheckMessage]:
    try:
        read_settings(app)
    except ConfigurationError as error:
        yield Error(
            f"Celeriac's settings cannot be used: {error}",
            hint=f"In Django's settings their names are in capitals, after {app.namespace or ''}_.",
            id="celeriac.E010",
        )


def _check_celerys(app: Any) -> Iterator[CheckMessage]:
    if not app.namespace:
        return
    prefix = f"{app.namespace.rstrip('_')}_"
    for setting in dir(settings):
        if not setting.startswith(prefix):
            continue
        name = setting.removeprefix(prefix).lower()
        if name in _KNOWN or name.startswith(PREFIXES):
            continue
        if near := _nearest(name):
            yield Warned(
                f"{setting} is no setting of Celery's.",
                hint=f"Did you mean {prefix}{near.upper()}?",
                id="celeriac.W011",
            )


def _nearest(name: str) -> str | None:
    """Return the setting that is meant: the new name of an old one, or one spelt alike."""
    for old in (f"CELERY_{name}".upper(), f"CELERYD_{name}".upper()):
        if old in _TO_NEW_KEY:
            return str(_TO_NEW_KEY[old])
    near = get_close_matches(name, _KNOWN, n=1, cutoff=_ALIKE)
    return near[0] if near else None
