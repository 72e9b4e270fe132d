"""The ledger's app with an option of its own for workers, as Celery's guide to extending it has them."""

from __future__ import annotations

from typing import Any

import click
from celery import bootsteps

from tests.apps.ledger import app, note


class Greeting(bootsteps.Step):
    """Writes the option's value down."""

    def __init__(self, parent: Any, greeting: str = "", **options: Any) -> None:
        note("greeting", greeting)


app.user_options["worker"].add(click.Option(["--greeting"]))
app.steps["worker"].add(Greeting)

__all__ = ["app"]
