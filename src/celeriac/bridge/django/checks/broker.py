"""Whether there is a broker that this process, and those elsewhere, can use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from celery.utils.imports import symbol_by_name
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Warned
from kombu.transport import TRANSPORT_ALIASES

from celeriac.bridge.configuration import check_broker
from celeriac.brokers.connect import SCHEMES, scheme_of
from celeriac.core.errors import ConfigurationError

__all__ = ["check_broker_for_deployment", "check_broker_url"]

_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: Seconds for which kombu's Redis and SQS transports leave a message with a worker that does not ack it.
_VISIBILITY_TIMEOUT: Final = 3600


def check_broker_url(app: Any) -> list[CheckMessage]:
    """E020: the broker's URL cannot be used. W021: none is set."""
    if not app.conf.broker_url:
        return [
            Warned(
                "No broker is set, so that Celery looks for RabbitMQ on this machine.",
                hint="Set CELERY_BROKER_URL, for instance to redis://host:6379/0 or sqlite:///broker.db.",
                id="celeriac.W021",
            )
        ]
    try:
        check_broker(app)
    except ConfigurationError as error:
        return [
            Error(f"The broker cannot be used: {error}", hint="Check CELERY_BROKER_URL.", id="celeriac.E020")
        ]
    return []


def check_broker_for_deployment(app: Any) -> list[CheckMessage]:
    """W022: the broker is on this machine. W023: in memory. W024: long tasks run twice. W025: no confirms."""
    return [*_check_place(app), *_check_visibility(app), *_check_confirms(app)]


def _check_place(app: Any) -> Iterator[CheckMessage]:
    for url in _urls(app):
        if _forgets(url):
            yield Warned(
                "The broker is in this process' memory: no worker sees what is published.",
                hint="Set CELERY_BROKER_URL to a broker that processes share.",
                id="celeriac.W023",
            )
        elif urlsplit(url).hostname in _THIS_MACHINE:
            yield Warned(
                f"The broker is on this machine ({urlsplit(url).hostname}).",
                hint="Set CELERY_BROKER_URL to a host that every machine of the deployment reaches.",
                id="celeriac.W022",
            )


def _check_visibility(app: Any) -> Iterator[CheckMessage]:
    options = app.conf.broker_transport_options or {}
    given = options.get("visibility_timeout")
    seconds = given if given is not None else _VISIBILITY_TIMEOUT
    limit = app.conf.task_time_limit or app.conf.task_soft_time_limit
    if not limit or limit < seconds or not any(map(_has_visibility_timeout, _urls(app))):
        return
    yield Warned(
        f"Tasks may run for {limit:g} s, but after {seconds:g} s Celery's own workers run them again.",
        hint="Set visibility_timeout in CELERY_BROKER_TRANSPORT_OPTIONS to more than the time limit; "
        "Celeriac's workers renew their leases instead.",
        id="celeriac.W024",
    )


def _check_confirms(app: Any) -> Iterator[CheckMessage]:
    options = app.conf.broker_transport_options or {}
    if "confirm_publish" in options or not any(map(_confirms_if_asked, _urls(app))):
        return
    yield Warned(
        "RabbitMQ is not asked to confirm what is published, but for what leaves by the outbox: what a worker"
        " retries, or is called outside of a transaction, may be lost if RabbitMQ ends at that moment.",
        hint='Set CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}; or False, to leave it so.',
        id="celeriac.W025",
    )


def _urls(app: Any) -> list[str]:
    urls = app.conf.broker_url or ()
    parts = urls.split(";") if isinstance(urls, str) else urls
    return [part for part in parts if isinstance(part, str)]


def _transport(url: str) -> Any:
    return TRANSPORT_ALIASES.get(scheme_of(url))


def _forgets(url: str) -> bool:
    """Whether the transport keeps its queues in the process."""
    return bool(_transport(url) == "kombu.transport.memory:Transport")


def _confirms_if_asked(url: str) -> bool:
    return str(_transport(url)).startswith("kombu.transport.pyamqp:")


def _has_visibility_timeout(url: str) -> bool:
    """Whether kombu gives a message to another worker after a time."""
    if scheme_of(url) in SCHEMES and _transport(url) is None:
        return False  # it is a broker that only Celeriac has
    try:
        return hasattr(symbol_by_name(_transport(url)).Channel, "visibility_timeout")
    except (AttributeError, ImportError, TypeError, ValueError):
        return False
