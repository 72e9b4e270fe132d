"""Versions of Kubernetes, and which of the fields written here each of them has."""

from __future__ import annotations

import re
from typing import NamedTuple

from celeriac.core.errors import ConfigurationError

__all__ = ["NEWEST", "OLDEST", "KubeVersion"]


class KubeVersion(NamedTuple):
    """A minor version; a field that is off by default there counts as absent."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> KubeVersion:
        """Return the version of ``1.33``, ``v1.33`` or ``1.33.2``; raise ConfigurationError for others."""
        match = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.+-].*)?", text.strip())
        if match is None:
            raise ConfigurationError(f"{text!r} is no version of Kubernetes: write one such as {OLDEST}")
        version = cls(int(match[1]), int(match[2]))
        if not OLDEST <= version <= NEWEST:
            raise ConfigurationError(
                f"manifests are rendered for Kubernetes {OLDEST} to {NEWEST}, not {version}"
            )
        return version

    @property
    def has_hpa_tolerance(self) -> bool:
        """``behavior.*.tolerance`` of an HPA: there from 1.33, on by default from 1.35 (KEP-4951)."""
        return self >= (1, 35)

    @property
    def has_hpa_to_zero(self) -> bool:
        """``minReplicas: 0`` of an HPA on external metrics: on by default from 1.37 (KEP-2021)."""
        return self >= (1, 37)

    @property
    def has_statefulset_max_unavailable(self) -> bool:
        """``rollingUpdate.maxUnavailable`` of a StatefulSet: on by default from 1.35 (KEP-961)."""
        return self >= (1, 35)


OLDEST = KubeVersion(1, 30)
NEWEST = KubeVersion(1, 37)
