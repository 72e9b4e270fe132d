"""Named steps of producer and relay at which the process kills itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ["FAST_PATH", "PRODUCER", "RELAY", "commit_follows", "install", "reach"]

PRODUCER = ("before insert", "after insert", "before commit", "after commit")
#: In the committing process as well as in the relay, the same code.
FAST_PATH = ("after claim", "mid publish", "before settle", "before relay commit")
RELAY = FAST_PATH

_seen: dict[str, int] = {}
_announced: list[bool] = []


def reach(name: str) -> None:
    """Go on, unless the process is to die the n-th time it gets here."""
    wanted, _, number = os.environ.get("FAILPOINT", "").partition(":")
    if name == wanted:
        _seen[name] = _seen.get(name, 0) + 1
        if _seen[name] == int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def commit_follows() -> None:
    """The next commit is that of the orders, and not one of those that come after it."""
    _announced.append(True)


def _commits() -> None:
    if _announced:
        _announced.clear()
        reach("before commit")


def install() -> None:
    """Put the steps inside of Celeriac and Django where they belong."""
    from django.db.backends.base.base import BaseDatabaseWrapper

    from celeriac.bridge import outlet
    from celeriac.bridge.broker_outlet import BrokerOutlet
    from celeriac.django import dispatch

    _around(BaseDatabaseWrapper, "_commit", _commits, lambda: None)
    _before(outlet.AppOutlet, "publish", "after claim")
    _before(dispatch, "_delete", "before settle")
    _after(dispatch, "_delete", "before relay commit")
    whole = BrokerOutlet._send

    def by_halves(self: Any, items: Any, refusals: Any) -> None:
        middle = (len(items) + 1) // 2
        whole(self, items[:middle], refusals)
        reach("mid publish")
        if items[middle:]:
            whole(self, items[middle:], refusals)

    BrokerOutlet._send = by_halves  # type: ignore[method-assign]


def _before(owner: Any, name: str, step: str) -> None:
    _around(owner, name, lambda: reach(step), lambda: None)


def _after(owner: Any, name: str, step: str) -> None:
    _around(owner, name, lambda: None, lambda: reach(step))


def _around(owner: Any, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    real = getattr(owner, name)

    @wraps(real)
    def stepped(*arguments: Any, **options: Any) -> Any:
        before()
        answer = real(*arguments, **options)
        after()
        return answer

    setattr(owner, name, stepped)
