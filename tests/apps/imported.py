"""Tasks that a worker knows only if a setting or an option tells it to import them."""

from __future__ import annotations

from celery import shared_task


@shared_task
def hello(name: str) -> str:
    return f"hello {name}"
