"""Publishing from several threads and from forked processes, as web servers do."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from celeriac import Celery
from celeriac.brokers.connect import open_broker
from tests.servers import RedisServer


@pytest.fixture(params=["sqlite", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Celery:
    url, prefix = f"sqlite:///{tmp_path}/broker.db", f"{uuid4().hex}:"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        url = server.url
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    return app


def sent(app: Celery) -> int:
    broker = open_broker(app.conf.broker_url, app.conf.broker_transport_options)
    return broker.stats(["celery"])["celery"].ready


def send(app: Celery, count: int) -> None:
    for number in range(count):
        app.send_task("shop.add", (number, 1))


def test_many_threads(app: Celery) -> None:
    threads = [threading.Thread(target=send, args=(app, 10)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent(app) == 50


def test_children_of_a_process_that_has_published_before(app: Celery) -> None:
    send(app, 1)
    children = []
    for _ in range(3):
        if (pid := os.fork()) == 0:
            status = 1
            try:
                send(app, 10)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    send(app, 10)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert sent(app) == 41
