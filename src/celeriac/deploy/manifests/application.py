"""What is known of an application when its manifests are rendered: told by whoever can read the app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from celeriac.core.errors import ConfigurationError, did_you_mean

__all__ = ["PREFIX", "Application", "ClusterSettings", "QueueWork"]

#: Every key of the app's configuration that begins with it must be a field of :class:`ClusterSettings`.
PREFIX = "k8s_"

Port = Annotated[int, Meta(ge=1, le=65_535)]

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_KEY|ACCESS_KEY", re.IGNORECASE
)
_SECRET_URL = re.compile(r"\w+://[^/@\s]*:[^/@\s]+@")


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``k8s_*`` settings, each with its unit and default."""

    #: The image that holds the app. Defaults to None: its name with the tag ``latest``, and a warning.
    k8s_image: str | None = None
    #: The namespace that everything lives in. Defaults to "celery".
    k8s_namespace: str = "celery"
    #: Environment variables of all containers, kept in the ConfigMap ``celery-config``. Defaults to {}.
    k8s_config: dict[str, str] = {}
    #: The Secret with the broker's URL and what else nobody may read. Defaults to "broker-credentials".
    k8s_secret: str = "broker-credentials"  # noqa: S105 - a name, not a secret
    #: TCP ports that tasks may connect to, besides broker and results. Defaults to (443,).
    k8s_egress_ports: tuple[Port, ...] = (443,)
    #: The namespaces that Prometheus and KEDA run in. Default to "monitoring" and "keda".
    k8s_monitoring_namespace: str = "monitoring"
    k8s_keda_namespace: str = "keda"
    #: Whether a ServiceMonitor of the Prometheus operator is written. Defaults to True.
    k8s_service_monitor: bool = True
    #: Storage of beat's schedule file, and of what the scaler has learnt. Default to "64Mi".
    k8s_beat_storage: str = "64Mi"
    k8s_scaler_storage: str = "64Mi"
    #: The user and group that containers run as. Defaults to 10001.
    k8s_user: Annotated[int, Meta(ge=1)] = 10_001

    @classmethod
    def from_mapping(cls, configuration: Mapping[str, Any]) -> ClusterSettings:
        """Return the settings found; raise ConfigurationError for a misspelt key, a bad value or a secret."""
        known = cls.__struct_fields__
        for key in configuration:
            if key not in known:
                raise ConfigurationError(f"unknown setting {key!r}{did_you_mean(key, known)}")
        try:
            settings = msgspec.convert(dict(configuration), cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"bad setting: {error}") from None
        for name, value in settings.k8s_config.items():
            if _SECRET_NAME.search(name) or _SECRET_URL.search(value):
                raise ConfigurationError(
                    f"k8s_config[{name!r}] looks like a secret: put it into the Secret {settings.k8s_secret}"
                )
        return settings


class QueueWork(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the tasks that are routed to one queue."""

    #: Seconds of the longest hard time limit.
    longest: float = 0.0
    #: Tasks with no hard time limit.
    unlimited: tuple[str, ...] = ()
    #: Tasks that are not run again when they are cut short (``acks_late=False``).
    at_most_once: tuple[str, ...] = ()


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """One Celery app, as far as its manifests depend on it."""

    #: What ``-A`` names.
    name: str
    cluster: ClusterSettings = ClusterSettings()
    #: What is routed where.
    work: Mapping[str, QueueWork] = {}
    #: TCP ports of broker and result store.
    server_ports: tuple[int, ...] = (6379,)
    #: Whether the broker is reached through a file, which pods do not share.
    broker_is_local: bool = False
    #: Why workers run on Celery's stock worker instead of the engine, or None.
    stock_reason: str | None = None
    #: Seconds after which the broker itself delivers an unsettled message again, or None.
    redelivers_after: float | None = None
    #: Seconds of ``engine_lease_seconds``, of ``worker_soft_shutdown_timeout``, and the ``metrics_port``.
    lease_seconds: float = 5.0
    soft_shutdown: float = 0.0
    metrics_port: int | None = None
    #: The ``metrics_host``, where the app sets one.
    metrics_host: str | None = None
    #: Whether beat has anything to send, and whether it keeps its schedule in a file.
    has_schedule: bool = False
    beat_keeps_file: bool = True
