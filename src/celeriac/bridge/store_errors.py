"""Errors of a result store, told apart: it does not answer, or it cannot store this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.core.errors import BrokerUnavailable

__all__ = ["store_errors"]


@contextmanager
def store_errors(app: Any) -> Iterator[None]:
    """What the app's result store raises when it does not answer is raised as BrokerUnavailable."""
    try:
        yield
    except BrokerUnavailable:
        raise
    except Exception as error:
        # Results are stored before acks, so nothing has been settled yet and all of it is kept.
        if isinstance(error, OperationalError) or app.backend.exception_safe_to_retry(error):
            raise BrokerUnavailable(f"the result store does not answer: {error}") from error
        raise
