"""What stock Celery and Celeriac have in common: everything but the class of the app."""

from __future__ import annotations

from typing import Any

from contenders.adapter import Adapter
from contenders.tasks import BODIES, BROKER_URL, RESULTS_URL

__all__ = ["CeleryAdapter", "configure"]


def configure(app: Any) -> Any:
    """Give the app its tasks and its URLs, the same whichever class it is of."""
    app.conf.update(
        broker_url=BROKER_URL,
        result_backend=RESULTS_URL or None,
        task_ignore_result=not RESULTS_URL,
        broker_connection_retry_on_startup=True,
    )
    for name, body in BODIES.items():
        app.task(name=name)(body)
    return app


class CeleryAdapter(Adapter):
    """``.delay()`` and ``.get()``."""

    def __init__(self, app: Any) -> None:
        self.tasks = app.tasks

    def enqueue(self, task: str, *arguments: Any) -> Any:
        return self.tasks[task].delay(*arguments)

    def wait_for(self, handle: Any) -> Any:
        return handle.get()
