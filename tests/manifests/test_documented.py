"""Every key of a pool and every setting of the cluster stands in the tables that explain them."""

from __future__ import annotations

import re

from celeriac.deploy.manifests.application import ClusterSettings
from celeriac.deploy.manifests.pools import Pool
from tests.docs.markdown import Document
from tests.manifests.rendering import ROOT

PAGE = Document.read(ROOT / "docs" / "howto" / "kubernetes.md")


def test_every_key_and_setting_is_explained() -> None:
    explained = {name for row in PAGE.rows for name in re.findall(r"`(\w+)`", f"{row[0]} {row[-1]}")}
    missing = {*Pool.__struct_fields__, *ClusterSettings.__struct_fields__} - explained
    assert not missing
