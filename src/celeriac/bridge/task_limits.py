"""What the tasks of an app ask of the whole fleet, and the store in which it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from celery.utils.log import get_logger

from celeriac.bridge.configuration import broker_options, read_settings, single_url, transport_options
from celeriac.bridge.limited_trace import limit_traces
from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import Settings
from celeriac.limits.arguments import Signature
from celeriac.limits.connect import open_store
from celeriac.limits.gate import Gate
from celeriac.limits.rules import (
    Concurrency,
    Rate,
    Unique,
    Window,
    as_concurrency,
    as_rate,
    as_unique,
    parse_rate,
)
from celeriac.limits.store import LimitStore

__all__ = ["TaskLimits"]

logger = get_logger("celeriac.limits")

_OPTIONS: Final = {"unique": as_unique, "global_rate_limit": as_rate, "max_concurrency": as_concurrency}


class _Gated(msgspec.Struct, frozen=True):
    """The limits of one task."""

    name: str
    signature: Signature
    rate: Rate | None
    window: Window | None
    concurrency: Concurrency | None

    def pick(self, rule: Rate | Concurrency, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        try:
            return f"{rule.name or self.name}:{self.signature.pick(rule.key, args, kwargs)}"
        except Exception as error:
            # The user's key function failed: the task shares one limit with all others that have no key.
            logger.error("the key of a limit of %s cannot be told: %r", self.name, error)
            return f"{rule.name or self.name}:?"


class TaskLimits:
    """Learns what each task asks for when it is registered; empty for most apps."""

    def __init__(self, app: Any) -> None:
        self._app = app
        #: By name of the task.
        self.unique: dict[str, Unique] = {}
        self.gated: dict[str, _Gated] = {}
        self.signatures: dict[str, Signature] = {}

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Return if a task may have these options; raise ConfigurationError saying what to write."""
        for name, understand in _OPTIONS.items():
            if name in options:
                understand(options[name])

    def learn(self, task: Any) -> bool:
        """Take over what the task asks for; return whether it asks for anything."""
        unique = as_unique(getattr(task, "unique", None))
        rate = as_rate(getattr(task, "global_rate_limit", None))
        concurrency = as_concurrency(getattr(task, "max_concurrency", None))
        if not (unique or rate or concurrency):
            return False
        name = task.name
        signature = self.signatures[name] = Signature(task.run)
        for rule in (unique and unique.args, rate and rate.key, concurrency and concurrency.key):
            if isinstance(rule, tuple):
                _check_names(name, signature, rule)
        if unique:
            self.unique[name] = unique
        if rate or concurrency:
            window = parse_rate(rate.rate) if rate else None
            self.gated[name] = _Gated(name, signature, rate, window, concurrency)
            limit_traces(task)
        return True

    def check(self) -> None:
        """Return if there is a store for what the tasks ask for; raise ConfigurationError if not."""
        if self.unique or self.gated:
            self.store.close()

    @cached_property
    def settings(self) -> Settings:
        return read_settings(self._app)

    @cached_property
    def store(self) -> LimitStore:
        """What all processes share; raises ConfigurationError if nothing is."""
        if self.settings.limits_url:
            return open_store(self.settings.limits_url, transport_options(self._app))
        url = self._app.conf.broker_write_url
        return open_store(single_url(url) or str(url), broker_options(self._app))

    def gates(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Gate]:
        """Return what a call of the task must pass to start."""
        gated = self.gated[name]
        args, kwargs = self._outgoing(args), self._outgoing(kwargs)
        gates = []
        if gated.rate is not None and gated.window is not None:
            key = f"rate:{gated.pick(gated.rate, args, kwargs)}"
            gates.append(Gate(key, gated.window.limit, gated.window.seconds))
        if gated.concurrency is not None:
            key = f"slots:{gated.pick(gated.concurrency, args, kwargs)}"
            lease = self.settings.limits_lease_seconds
            gates.append(Gate(key, gated.concurrency.limit, lease=lease))
        return gates

    def unique_key(self, name: str, rule: Unique, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what two calls of the task have in common if the rule makes them the same."""
        signature = self.signatures.get(name)
        if signature is None:
            task = self._app._tasks.get(name)
            signature = Signature(None if task is None else task.run)
        picked = signature.pick_all(rule.args, self._outgoing(args), self._outgoing(kwargs))
        return f"{name}:{picked}"

    def _outgoing(self, value: Any) -> Any:
        return value if self._app.framework is None else self._app.framework.outgoing(value)


def _check_names(task: str, signature: Signature, names: Sequence[str]) -> None:
    try:
        signature.check_names(names)
    except ConfigurationError as error:
        raise ConfigurationError(f"{task}: {error}") from None
