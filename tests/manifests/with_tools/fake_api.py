"""A Kubernetes API that keeps what it is given, on a free port: ``python fake_api.py RESOURCES.json``.

Prints its port, and serves until its standard input ends. It runs in the environment that has kmock.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import kmock

VERBS = {"get", "list", "watch", "create", "patch", "update", "delete"}


async def main(resources: dict[str, dict[str, object]]) -> None:
    """Serve the resources, given as ``{"apps/v1/deployments": {"kind": ..., "namespaced": ...}}``."""
    async with kmock.KubernetesEmulator() as api, kmock.Server(api) as server:
        for key, about in resources.items():
            api.resources[key] = {"verbs": VERBS, **about}
        # kmock itself calls the core group's version "/v1", which kubectl does not take for "v1".
        api["get /api/v1"] << core_resources(resources)
        print(server.port, flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def core_resources(resources: dict[str, dict[str, object]]) -> dict[str, object]:
    """What the API says of the core group."""
    core = {key.removeprefix("v1/"): about for key, about in resources.items() if key.startswith("v1/")}
    return {
        "apiVersion": "v1",
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": plural, "singularName": "", "verbs": sorted(VERBS), **about}
            for plural, about in core.items()
        ],
    }


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
