"""The body of an ``async def`` task: recognized, awaited, interrupted; and closures seen anew."""

from __future__ import annotations

import asyncio
import functools

import pytest
from celery import Celery, Task

import celeriac
from celeriac.bridge.coroutine import Body, is_async
from celeriac.bridge.rebind import rebound


def counter(start: int, step: int):  # type: ignore[no-untyped-def]
    def count(times: int = 1, *, sign: int = 1) -> int:
        return start + sign * times * step

    return count


def test_a_rebound_closure_sees_other_values_and_the_original_its_own() -> None:
    original = counter(1, 10)
    copy = rebound(original, step=100)
    assert (original(), copy(), copy(2), copy(sign=-1)) == (11, 101, 201, -99)


def test_a_name_it_does_not_close_over_is_refused() -> None:
    with pytest.raises(TypeError, match="closes over no other, stop"):
        rebound(counter(1, 1), step=2, stop=3, other=4)


def test_async_tasks_are_told_apart() -> None:
    app = Celery("test", broker="memory://")

    async def native() -> None: ...

    @functools.wraps(native)
    def wrapper() -> None: ...

    def plain() -> None: ...

    class Async(Task):
        async def __call__(self) -> None: ...

    assert is_async(app.task(native, name="a"))
    assert is_async(app.task(native, name="b", autoretry_for=(OSError,)))
    assert is_async(app.task(native, name="c", bind=True))
    assert is_async(app.task(plain, name="d", base=Async))
    assert not is_async(app.task(wrapper, name="e"))
    assert not is_async(app.task(plain, name="f", autoretry_for=(OSError,)))


class Whistle(Exception):
    pass


async def interrupted(body: Body, *, by: BaseException) -> list[str]:
    """Run a body that waits for ever and listens; return what it has heard."""
    heard: list[str] = []
    waits = asyncio.Event()

    async def listen() -> str:
        for _ in range(2):
            try:
                waits.set()
                await asyncio.sleep(600)
            except (Whistle, asyncio.CancelledError) as error:
                heard.append(type(error).__name__)
        return "done"

    async def main() -> str:
        return await body

    body.begin(listen())
    task = asyncio.create_task(main())
    await waits.wait()
    body.interrupt(by)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert task.cancelling() == 0
    task.cancel()
    assert await task == "done"
    body.interrupt(by)
    return heard


def test_an_error_is_thrown_into_a_body_and_a_cancellation_stays_one() -> None:
    assert asyncio.run(interrupted(Body(), by=Whistle())) == ["Whistle", "CancelledError"]


def test_one_that_celery_calls_itself_is_awaited_and_one_called_by_hand_is_not() -> None:
    app = celeriac.Celery("test", broker="sqlite:///unused.db")

    @app.task(bind=True, autoretry_for=(OSError,), retry_kwargs={"max_retries": 2, "countdown": 0})
    async def stubborn(self: Task, failures: int) -> int:
        await asyncio.sleep(0)
        if self.request.retries < failures:
            raise OSError("not yet")
        return int(self.request.retries)

    @app.task
    async def add(x: int, y: int) -> int:
        return x + y

    @app.task
    async def adds_twice(x: int) -> int:
        return await add(x, await add(x, x))

    assert is_async(add)
    assert add.apply((1, 2)).get() == 3
    assert stubborn.apply((2,)).get() == 2
    assert adds_twice.apply((1,)).get() == 3
    assert asyncio.run(add(1, 2)) == 3
