"""Every key of a pool and every setting of the cluster stands in the tables that explain them."""

from __future__ import annotations

import re

from celeriac.deploy.manifests.application import ClusterSettings
from celeriac.deploy.manifests.pools import Pool
from tests.manifests.rendering import ROOT

PAGE = ROOT / "docs" / "howto" / "kubernetes.md"


def test_every_key_and_setting_is_explained() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    missing = {*Pool.__struct_fields__, *ClusterSettings.__struct_fields__} - explained
    assert not missing
