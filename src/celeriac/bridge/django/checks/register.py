"""Which checks there are, and when each of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, register

from celeriac.bridge.django.checks.app import check_app
from celeriac.bridge.django.checks.broker import check_broker_for_deployment, check_broker_url
from celeriac.bridge.django.checks.outbox import check_outbox_for_deployment, check_transactions
from celeriac.bridge.django.checks.results import check_results
from celeriac.bridge.django.checks.safety import check_safety
from celeriac.bridge.django.checks.settings import check_settings
from celeriac.bridge.django.checks.tables import check_tables
from celeriac.bridge.django.project_app import project_app

__all__ = ["register_checks"]

_TAG = "celeriac"
#: Each takes the Celery app and returns what is wrong.
_ALWAYS = (check_settings, check_broker_url, check_transactions, check_results)
_FOR_DEPLOYMENT = (check_broker_for_deployment, check_outbox_for_deployment, check_safety)


def register_checks() -> None:
    """``manage.py check`` runs them; those for deployment with ``--deploy`` only."""
    register(_check, _TAG)
    register(_check_for_deployment, _TAG, Tags.security, deploy=True)
    register(check_tables, _TAG, Tags.database, deploy=True)


def _check(**_: Any) -> Sequence[CheckMessage]:
    app = project_app()
    found = check_app(app)
    if any(message.is_serious() for message in found):
        return found  # the others look at an app of ours
    return [*found, *(message for check in _ALWAYS for message in check(app))]


def _check_for_deployment(**_: Any) -> Sequence[CheckMessage]:
    app = project_app()
    if any(message.is_serious() for message in check_app(app)):
        return []
    return [message for check in _FOR_DEPLOYMENT for message in check(app)]
