"""Settings that are meant for tests, or let a stranger's message run code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.core.checks import CheckMessage
from django.core.checks import Warning as Warned
from kombu.serialization import prepare_accept_content

__all__ = ["check_safety"]

#: Content types whose decoding runs code that the message brings along.
_UNSAFE: Final = ("application/x-python-serialize",)


def check_safety(app: Any) -> list[CheckMessage]:
    """W050: tasks run in the web process. W051: whoever reaches the broker can run code in workers."""
    return [*_check_eager(app), *_check_serializers(app)]


def _check_eager(app: Any) -> Iterator[CheckMessage]:
    if app.conf.task_always_eager:
        yield Warned(
            "Tasks run in the process that calls them, before its transaction is committed.",
            hint="Remove CELERY_TASK_ALWAYS_EAGER; for tests there is celeriac.django.test.",
            id="celeriac.W050",
        )


def _check_serializers(app: Any) -> Iterator[CheckMessage]:
    accepted = prepare_accept_content(app.conf.accept_content or ())
    if any(content in accepted for content in _UNSAFE):
        yield Warned(
            "Workers accept pickled messages: whoever can write to the broker can run code in them.",
            hint="Remove 'pickle' from CELERY_ACCEPT_CONTENT.",
            id="celeriac.W051",
        )
