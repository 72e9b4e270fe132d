"""Manifests as YAML text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celeriac.core.errors import MissingExtra
from celeriac.deploy.manifests.names import Manifest

__all__ = ["as_yaml"]


def as_yaml(manifests: Sequence[Manifest]) -> str:
    """Return one YAML document for each object; raise MissingExtra without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise MissingExtra("PyYAML", "kubernetes") from None

    class Dumper(yaml.SafeDumper):
        """Lists are set in, and nothing is an alias of something above."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002
            return super().increase_indent(flow, indentless=False)

    texts = (
        yaml.dump(one, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True) for one in manifests
    )
    return "---\n".join(texts)
