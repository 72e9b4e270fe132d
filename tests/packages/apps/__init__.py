"""Small apps, each with one package; the environment variable ENGINE says whose Celery they are made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import celery

import celeriac


def make_app(name: str, **settings: Any) -> Any:
    """An app on the test's broker."""
    kind = celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery
    app = kind(name, broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
        worker_hijack_root_logger=False,
    )
    app.conf.update(settings)
    return app


def folder() -> Path:
    """The test's own folder."""
    return Path(os.environ["FOLDER"])


def write_line(name: str, value: Any) -> None:
    """A line of JSON more in a file of the test's folder, whichever process says so."""
    with (folder() / name).open("a") as file:
        file.write(json.dumps(value, default=str) + "\n")
