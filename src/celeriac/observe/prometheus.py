"""Prometheus' own library, which writes what is scraped; an optional one."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import msgspec

from celeriac.core.errors import MissingExtra

__all__ = ["Family", "encode", "prometheus_client"]


class Family(msgspec.Struct):
    """One metric: its name without the suffix of its kind, and its samples."""

    name: str
    help: str
    #: "counter", "gauge" or "histogram".
    kind: str
    #: Each is a suffix, such as "_total", labels and a value.
    samples: list[tuple[str, dict[str, str], float]] = []

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        """Add one sample; a counter's ends in ``_total`` by itself."""
        if self.kind == "counter" and not suffix:
            suffix = "_total"
        self.samples.append((suffix, labels, value))


def prometheus_client() -> ModuleType:
    """Return the library; raise MissingExtra with the line that installs it."""
    try:
        import prometheus_client
    except ImportError:
        raise MissingExtra("prometheus-client", "metrics") from None
    return prometheus_client


def encode(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """Return what is scraped and its content type: OpenMetrics to who accepts it, else Prometheus' text."""
    client = prometheus_client()
    collected = [_metric(client, family) for family in families if family.samples]

    class Collected:
        def collect(self) -> Iterable[object]:
            return collected

    write, content_type = client.exposition.choose_encoder(accept)
    return write(Collected()), content_type


def _metric(client: ModuleType, family: Family) -> object:
    metric = client.Metric(family.name, family.help, family.kind)
    for suffix, labels, value in family.samples:
        metric.add_sample(family.name + suffix, labels, value)
    return metric
