from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from celeriac.core.errors import ConfigurationError
from celeriac.limits.arguments import Signature, fingerprint

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def ship(order_id: int, size: str = "small", *, by: str = "van", **rest: Any) -> None: ...


def send(to: str, *parts: str) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {}),
        ((), {"order_id": 1}),
        ((1, "small"), {"by": "van"}),
        ((), {"by": "van", "size": "small", "order_id": 1}),
    ],
)
def test_calls_are_the_same_however_they_are_written(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    signature = Signature(ship)
    assert signature.pick_all(None, args, kwargs) == signature.pick_all(None, (1,), {})


def test_only_the_chosen_arguments_count() -> None:
    signature = Signature(ship)
    first = signature.pick_all(("order_id",), (1, "small"), {})
    assert signature.pick_all(("order_id",), (1, "large"), {"by": "bike"}) == first
    assert signature.pick_all(("order_id",), (2, "small"), {}) != first


def test_more_keyword_arguments_have_names_too() -> None:
    signature = Signature(ship)
    assert signature.pick(("account",), (1,), {"account": 7}) == signature.pick(
        ("account",), (2,), {"account": 7}
    )
    assert signature.pick(("account",), (1,), {"account": 7}) != signature.pick(("account",), (1,), {})


def test_a_name_that_is_no_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no argument 'two'; did you mean 'to'"):
        Signature(send).check_names(("two",))
    Signature(ship).check_names(("anything",))
    Signature().check_names(("anything",))


def test_of_an_unknown_task_keyword_arguments_can_be_chosen() -> None:
    assert Signature().pick_all(("a",), (), {"a": 1, "b": 2}) == Signature().pick_all(("a",), (9,), {"a": 1})
    with pytest.raises(ConfigurationError, match="'a' must be given by its name"):
        Signature().pick_all(("a",), (1,), {})


def test_a_function_of_the_arguments_may_be_the_key() -> None:
    signature = Signature(ship)
    assert signature.pick(lambda order_id, **_: order_id % 2, (1,), {}) == signature.pick(
        lambda order_id, **_: order_id % 2, (3,), {"by": "bike"}
    )
    assert signature.pick(None, (1,), {}) == ""


def test_a_call_that_does_not_fit_is_told_apart_by_what_it_gives() -> None:
    signature = Signature(send)
    assert signature.pick_all(None, (), {"x": 1}) == signature.pick_all(None, (), {"x": 1})
    assert signature.pick_all(None, (), {"x": 1}) != signature.pick_all(None, (), {"x": 2})


@given(st.lists(plain, max_size=3), st.dictionaries(st.text(), plain, max_size=3))
def test_a_call_is_the_same_after_its_way_through_the_broker(args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = Signature()
    args_there, kwargs_there = loads(dumps((args, kwargs)))
    assert signature.pick_all(None, args_there, kwargs_there) == signature.pick_all(None, tuple(args), kwargs)


@pytest.mark.parametrize(
    "value", [datetime(2030, 1, 2, 3, tzinfo=UTC), uuid.UUID(int=7), Decimal("1.50"), {"b": 1, "a": (2, [3])}]
)
def test_what_celery_can_send_can_be_told_apart(value: Any) -> None:
    assert fingerprint(loads(dumps(value))) == fingerprint(value)
    assert fingerprint([value]) != fingerprint([[value]])


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="name arguments that are plain data"):
        fingerprint(object())
