"""What others put in the place of Celery's publishing is noticed, however they do it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod, wraps
from typing import Any

import pytest
from celery import Task
from celery.app.base import Celery
from kombu import Producer
from wrapt import wrap_function_wrapper

from celeriac.bridge.wrapped import calls_are_wrapped, sending_is_wrapped

Wrap = Callable[[type, str], None]


def with_a_function(owner: type, name: str) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def with_wrapt(owner: type, name: str) -> None:
    wrap_function_wrapper(owner, name, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs))


def with_partialmethod(owner: type, name: str) -> None:
    setattr(owner, name, partialmethod(getattr(owner, name)))


def test_nothing_is_wrapped_at_first() -> None:
    assert not sending_is_wrapped()
    assert not calls_are_wrapped()


@pytest.mark.parametrize("wrap", [with_a_function, with_wrapt, with_partialmethod])
@pytest.mark.parametrize(
    ("owner", "name", "is_sending"),
    [(Celery, "send_task", True), (Producer, "publish", True), (Task, "apply_async", False)],
)
def test_a_wrapper_is_noticed(
    monkeypatch: pytest.MonkeyPatch, wrap: Wrap, owner: type, name: str, is_sending: bool
) -> None:
    monkeypatch.setattr(owner, name, getattr(owner, name))  # puts it back in the end
    assert not calls_are_wrapped()
    wrap(owner, name)
    assert sending_is_wrapped() == is_sending
    assert calls_are_wrapped()
