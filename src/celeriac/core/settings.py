"""Celeriac's own settings: one frozen, validated object, read once at start-up.

They live beside Celery's in the same configuration, told apart by their prefix; Celery's own
settings are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from celeriac.core.errors import ConfigurationError, did_you_mean

__all__ = ["PREFIXES", "Settings"]

#: Every key that begins with one of these must be a field of :class:`Settings`.
PREFIXES = (
    "admin_hide_",
    "engine_",
    "inbox_",
    "limits_",
    "metrics_",
    "outbox_",
    "references_",
    "task_records_",
)

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Retention = Annotated[float, Meta(gt=0, le=31_622_400)]
Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of engine, limits and metrics, each with its unit and default."""

    #: Seconds after which the leases of a node that stopped renewing go back. Defaults to 5.
    engine_lease_seconds: Seconds = 5.0
    #: Deliveries a message gets when its worker dies each time, before it is buried. Defaults to 5.
    engine_max_deliveries: Count = 5
    #: Seconds of work a shard aims to claim at once. Defaults to 0.02.
    engine_batch_seconds: Seconds = 0.02
    #: Most messages a shard claims at once. Defaults to 256.
    engine_batch_max: Count = 256
    #: Seconds after which finished work is settled, at the latest. Defaults to 0.02.
    engine_settle_seconds: Seconds = 0.02
    #: Seconds a task, or a batch, may run before the messages behind it are given back. Defaults to 0.05.
    engine_giveback_seconds: Seconds = 0.05
    #: How messages of equal priority are shared out between queues. Defaults to "round_robin".
    engine_queue_order: Literal["ordered", "round_robin", "weighted"] = "round_robin"
    #: What a queue weighs where the order is "weighted"; one that is not named weighs 1. Defaults to {}.
    engine_queue_weights: dict[str, Weight] = {}
    #: Where locks of unique tasks and places of limited ones are kept; None: beside the broker's queues.
    limits_url: str | None = None
    #: Seconds after which the place of a task whose worker was killed is free again. Defaults to 10.
    limits_lease_seconds: Seconds = 10.0
    #: Seconds for which a producer killed while it publishes a unique task blocks others. Defaults to 30.
    limits_publish_seconds: Seconds = 30.0
    #: What happens to a unique task while the store does not answer. Defaults to "publish".
    limits_unique_unreachable: Literal["publish", "raise"] = "publish"
    #: What happens to a limited task while the store does not answer. Defaults to "wait".
    limits_unreachable: Literal["wait", "run"] = "wait"
    #: The port of a worker's metrics and health; 0: any free one; None: neither is there.
    metrics_port: Port | None = None
    #: The address on which the port listens. Defaults to "127.0.0.1".
    metrics_host: str = "127.0.0.1"
    #: A worker without a port counts, too, and tells the broker, for ``celeriac metrics``. Defaults to False.
    metrics_share: bool = False
    #: A worker's port shows the queues that it consumes from as well. Defaults to True.
    metrics_queues: bool = True
    #: The names of celery-exporter and of Flower are shown as well. Defaults to False.
    metrics_compatible: bool = False
    #: Most tasks that are shown by name; the others together are "_other". Defaults to 200.
    metrics_max_tasks: Count = 200

    #: Whether calls inside a transaction wait for its commit, in a Django project. Defaults to True.
    outbox_enabled: bool = True
    #: Seconds that a process may take, after a commit, to send what it has published. Defaults to 0.5.
    outbox_fast_seconds: Seconds = 0.5
    #: Whether a thread does so and not the request, where databases let several publish. Defaults to True.
    outbox_fast_thread: bool = True
    #: Most messages that a relay takes at once. Defaults to 500.
    outbox_batch_max: Count = 500
    #: Seconds between a relay's looks into an empty outbox. Defaults to 0.05.
    outbox_poll_seconds: Seconds = 0.05
    #: Times that the broker may refuse a message before it is kept as dead. Defaults to 5.
    outbox_max_attempts: Count = 5
    #: Seconds for which a message that was refused for good can be replayed. Defaults to 30 days.
    outbox_dead_retention_seconds: Retention = 2_592_000.0
    #: Whether workers relay, beside the command of its own. Defaults to True.
    outbox_relay_in_worker: bool = True
    #: Seconds for which it is known that a message has been processed. Defaults to 7 days.
    inbox_retention_seconds: Retention = 604_800.0
    #: Seconds for which the record of a finished task of Django's framework is kept. Defaults to 30 days.
    task_records_retention_seconds: Retention = 2_592_000.0
    #: Patterns of names of tasks whose arguments Django's admin does not show. Defaults to [].
    admin_hide_arguments: list[str] = []

    #: Models whose rows are never handed to tasks; their keys are secrets. Defaults to sessions and tokens.
    references_forbidden: tuple[str, ...] = ("sessions.session", "authtoken.token")

    def __post_init__(self) -> None:
        if self.engine_lease_seconds < 1:
            raise ValueError("engine_lease_seconds must be at least 1: leases are renewed every third of it")
        if self.limits_lease_seconds < 1:
            raise ValueError("limits_lease_seconds must be at least 1: places are renewed every third of it")
        if self.engine_batch_seconds > self.engine_lease_seconds / 2:
            raise ValueError("engine_batch_seconds must be at most half of engine_lease_seconds")
        if self.engine_queue_weights and self.engine_queue_order != "weighted":
            raise ValueError("engine_queue_weights has a meaning only with engine_queue_order='weighted'")

    @classmethod
    def from_mapping(cls, configuration: Mapping[str, Any]) -> Settings:
        """Return the settings found among others in ``configuration``.

        Raises :class:`ConfigurationError` for an unknown key with a prefix of ours ("did you
        mean"), and for a value of the wrong type or range.
        """
        ours = {key: value for key, value in configuration.items() if key.startswith(PREFIXES)}
        known = cls.__struct_fields__
        for key in ours:
            if key not in known:
                raise ConfigurationError(f"unknown setting {key!r}{did_you_mean(key, known)}")
        try:
            return msgspec.convert(ours, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"bad setting: {error}") from None
