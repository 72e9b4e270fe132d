"""An app in a Django project, and what has arrived at its broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celeriac import Celery
from celeriac.bridge.wire import decode
from celeriac.brokers.connect import open_broker
from tests.django.conftest import SETTINGS, environment

JSON = frozenset({"application/json"})


def make_app(url: str, **configuration: Any) -> Any:
    """An app as a project's ``celery.py`` makes it, with one task that takes anything."""
    with environment(DJANGO_SETTINGS_MODULE=SETTINGS):
        app = Celery("shop", broker=url, set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=url, **configuration)

    @app.task(name="ship", ignore_result=True, shared=False)
    def ship(*args: Any, **kwargs: Any) -> None:
        pass

    app.finalize()
    return app


class Post:
    """A broker of the test's own, in a file, and an app that publishes to it."""

    def __init__(self, folder: Path, **configuration: Any) -> None:
        self.url = f"sqlite:///{folder}/broker.db"
        self.app = make_app(self.url, **configuration)
        self.ship = self.app.tasks["ship"]

    def arrived(self, queue: str = "celery") -> list[Any]:
        """The first argument of each message that has arrived since the last look, in their order."""
        assert self.app.framework.desk.outbox.finish(20)
        broker = open_broker(self.url)
        try:
            leases = broker.claim([queue], 10_000, owner="reader", lease_for=60).leases
            broker.ack(leases)
            return [decode(lease.message.payload, JSON).args[0] for lease in leases]
        finally:
            broker.close()

    def relay(self, database: str) -> Any:
        """A relay of that database."""
        return self.app.framework.desk.relays(database)
