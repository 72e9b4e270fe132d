"""Three apps as their manifests see them, rendered for a version."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from celeriac.deploy.manifests.application import Application
from celeriac.deploy.manifests.kube_version import NEWEST, OLDEST, KubeVersion
from celeriac.deploy.manifests.pools import Pool
from celeriac.deploy.manifests.render import Rendering, render

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = [KubeVersion(1, minor) for minor in range(OLDEST.minor, NEWEST.minor + 1)]
#: What ``-A`` names, and the folder it is found from.
APPS = {
    "plain": ("tests.manifests.apps.plain", ROOT),
    "media": ("tests.manifests.apps.media", ROOT),
    "logistics": ("logistics", ROOT / "examples" / "logistics"),
}
#: Besides these, an app whose commands are really run.
STARTED = {"started": ("tests.manifests.apps.started", ROOT)}
_TELL = """
import sys, msgspec
from celeriac.bridge.find_app import find_app
from celeriac.k8s.application import describe, pools_of
app = find_app(sys.argv[1])
sys.stdout.buffer.write(msgspec.json.encode([describe(app, sys.argv[1]), pools_of(app)]))
"""


@functools.cache
def described(name: str) -> tuple[Application, Mapping[str, Pool]]:
    """What an app tells of itself, read in a process of its own."""
    module, folder = (APPS | STARTED)[name]
    told = subprocess.run(
        [sys.executable, "-c", _TELL, module],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        check=True,
        stdout=subprocess.PIPE,
    )
    return msgspec.json.decode(told.stdout, type=tuple[Application, dict[str, Pool]])


def rendered(name: str, version: KubeVersion = OLDEST) -> Rendering:
    """An app's manifests."""
    app, pools = described(name)
    return render(app, {pool: lowered(one, version) for pool, one in pools.items()}, version)


def lowered(pool: Pool, version: KubeVersion) -> Pool:
    """The pool with as few pods as the version allows; nothing else changes."""
    if pool.min == 0 and not version.has_hpa_to_zero and any(kind.startswith("hpa") for kind in pool.scalers):
        return msgspec.structs.replace(pool, min=1)
    return pool


def find(rendering: Rendering, kind: str, name: str) -> dict[str, Any]:
    """The one object of that kind and name."""
    [found] = [o for o in rendering.objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found
