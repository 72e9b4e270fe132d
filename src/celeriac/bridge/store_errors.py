"""Errors of a result store, told apart: it does not answer, or it cannot store this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.bridge.at_most import at_most
from celeriac.core.errors import BrokerUnavailable

__all__ = ["store_errors"]


@contextmanager
def store_errors(app: Any, within: float | None = None) -> Iterator[None]:
    """What the app's result store raises when it does not answer is raised as BrokerUnavailable.

    So is its silence, if it is to answer ``within`` so many seconds.
    """
    try:
        with at_most(within, "the result store does not answer") if within else nullcontext():
            yield
    except BrokerUnavailable:
        raise
    except Exception as error:
        # Results are stored before acks, so nothing has been settled yet and all of it is kept.
        if isinstance(error, OperationalError) or app.backend.exception_safe_to_retry(error):
            raise BrokerUnavailable(f"the result store does not answer: {error}") from error
        raise
