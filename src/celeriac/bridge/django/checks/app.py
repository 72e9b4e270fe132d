"""Whether the app that the project publishes with is one of Celeriac's, and the one it means."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Warned

from celeriac.bridge.app import Celery

__all__ = ["check_app"]

_DEFAULT_APP = "celeriac.django.celery"


def check_app(app: Any) -> list[CheckMessage]:
    """E001: the app is Celery's own. W002: the project has an app that its web processes do not load."""
    if not isinstance(app, Celery):
        return [
            Error(
                f"The Celery app {_name(app)} is Celery's own, so that nothing of Celeriac is at work.",
                hint="Where it is made, change 'from celery import Celery' to 'from celeriac import Celery'.",
                id="celeriac.E001",
            )
        ]
    module = f"{os.environ.get('DJANGO_SETTINGS_MODULE', '').partition('.')[0]}.celery"
    if app is getattr(sys.modules.get(_DEFAULT_APP), "app", None) and _exists(module):
        return [
            Warned(
                f"There is a module {module} that this process did not import, and uses Celeriac's own app.",
                hint=f"Import the app in the package's __init__.py: from {module} import app as celery_app",
                id="celeriac.W002",
            )
        ]
    return []


def _name(app: Any) -> str:
    return repr(getattr(app, "main", None) or "without a name")


def _exists(module: str) -> bool:
    try:
        return not module.startswith(".") and find_spec(module) is not None
    except ModuleNotFoundError:
        return False
