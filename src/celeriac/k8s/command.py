"""The command ``celeriac k8s``."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from celeriac.bridge.draining import Draining
from celeriac.bridge.find_app import find_app
from celeriac.core.errors import BrokerUnavailable
from celeriac.deploy.manifests.chart import chart
from celeriac.deploy.manifests.kube_version import NEWEST, OLDEST, KubeVersion
from celeriac.deploy.manifests.render import kustomize, render
from celeriac.k8s.application import describe, pools_of
from celeriac.k8s.folder import write_folder

__all__ = ["k8s"]


@click.group()
def k8s() -> None:
    """Write the app's Kubernetes manifests, and end a worker's pod well.

    \b
    Example:
      celeriac -A proj k8s render --out k8s/
    """


@k8s.command("render", short_help="Write the manifests of workers, beat, exporter and scaler.")
@click.pass_obj
@click.option(
    "--out", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where to."
)
@click.option("--kube-version", default=str(OLDEST), show_default=True, metavar="X.YY",
              help=f"The cluster's version, {OLDEST} to {NEWEST}: what it lacks is left out.")  # fmt: skip
@click.option("--image", metavar="NAME:TAG", help="The image, in place of k8s_image.")
@click.option("--helm", is_flag=True, help="Write a Helm chart instead of files for kubectl apply -k.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else.")
def render_manifests(
    app: Any, /, folder: Path, kube_version: str, image: str | None, helm: bool, as_object: bool
) -> None:
    """Write the manifests of the app: one workload for each pool in its setting ``pools``.

    Files of an earlier run that are not needed any more are removed; a folder with files of others
    is refused. What is likely to surprise is told on stderr.

    \b
    Example:
      celeriac -A proj k8s render --out k8s/ --kube-version 1.34 && kubectl apply -k k8s/
    """
    version = KubeVersion.parse(kube_version)
    celery_app = find_app(app)
    pools = pools_of(celery_app)
    described = describe(celery_app, app if isinstance(app, str) else celery_app.main or "app", image)
    rendering = render(described, pools, version)
    texts = chart(rendering, described, pools, version) if helm else kustomize(rendering)
    write_folder(folder, texts)
    if as_object:
        files = sorted(texts)
        click.echo(json.dumps({"folder": str(folder), "files": files, "warnings": rendering.warnings}))
        return
    for warning in rendering.warnings:
        click.echo(f"Warning: {warning}", err=True)
    use = f"helm upgrade --install NAME {folder}" if helm else f"kubectl apply -k {folder}"
    click.echo(f"{len(rendering.objects)} objects in {len(texts)} files for Kubernetes {version}: {use}")


@k8s.command(short_help="Let a worker run dry; a pod's preStop hook.")
@click.pass_obj
@click.option("--timeout", type=click.FloatRange(0), default=300.0, show_default=True,
              help="Seconds after which it is left at that.")  # fmt: skip
@click.option("--node", metavar="NAME", help="The worker's name.  [default: celery@ and this host's name]")
def drain(app: Any, /, timeout: float, node: str | None) -> None:
    """Let a worker stop consuming, and return when nothing runs there any more.

    A worker that cannot be asked, as the broker is away, is told to end right after this, and gives
    back by itself what it holds. So this never fails for that. Ends with 1 if tasks still run.

    \b
    Example:
      celeriac -A proj k8s drain --timeout 300
    """
    deadline = time.monotonic() + timeout
    name = node or f"celery@{os.environ.get('HOSTNAME') or socket.gethostname()}"
    draining = Draining(find_app(app), name)
    try:
        queues = draining.stop_consuming(deadline)
        if queues is None:
            click.echo(f"No worker {name} has answered within {timeout:g} s", err=True)
            sys.exit(1)
        dry = draining.wait(deadline)
    except BrokerUnavailable as error:
        click.echo(f"{name} cannot be asked, it will give back what it holds when it ends: {error}", err=True)
        return
    if not dry:
        click.echo(f"Tasks still run on {name} after {timeout:g} s", err=True)
        sys.exit(1)
    click.echo(f"{name} has run dry; it consumed {', '.join(queues) or 'nothing'}")
