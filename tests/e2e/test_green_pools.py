"""Pools of greenlets run on the stock worker: plain tasks run, ``async def`` ones fail and say why."""

from __future__ import annotations

import pytest

from celeriac import Celery
from celeriac.bridge.green_pools import refuse_async_tasks
from celeriac.core.errors import ConfigurationError
from tests.stage import Stage

NATIVE = "tests.apps.native"


@pytest.mark.shows("beyond", "async def tasks")
def test_a_gevent_worker_says_at_its_start_which_tasks_it_cannot_run(redis_stage: Stage) -> None:
    with redis_stage.worker("-P", "gevent", "-c", "10", "-I", NATIVE) as worker:
        assert "Celery's stock worker runs here" in worker.text
        [line] = [
            line for line in worker.text.splitlines() if "cannot run tasks that are an async def" in line
        ]
        assert f"{NATIVE}.add, " in line
        assert "tests.apps.ledger.add" not in line
        app = redis_stage.app
        sent = [app.send_task(f"{NATIVE}.add", (number, 1)) for number in range(5)]
        plain = [redis_stage.send("add", number, 1) for number in range(5)]
        for result in sent:
            with pytest.raises(ConfigurationError, match="which the gevent pool cannot run: route it to"):
                result.get(timeout=20)
        assert [result.get(timeout=20) for result in plain] == [1, 2, 3, 4, 5]
        worker.stop()


async def fetch(number: int) -> int:
    return number


def test_so_does_an_eventlet_worker_and_others_say_nothing() -> None:
    app = Celery("shop", broker="sqlite:///shop.db", set_as_current=False)
    task = app.task(fetch, name="fetch", shared=False)
    assert refuse_async_tasks(app, "prefork") is None
    refusal = refuse_async_tasks(app, "celery.concurrency.eventlet")
    assert refusal is not None
    assert "the eventlet pool cannot run tasks that are an async def" in refusal
    named, _, advice = refusal.partition(" (")
    assert "fetch" in named.partition("fail at once: ")[2].split(", ")  # beside those that other tests share
    assert advice == "run them with -P asyncio, threads or prefork)"
    task(1).close()  # called by somebody who would await it
    assert isinstance(task.apply((1,)).result, ConfigurationError)
