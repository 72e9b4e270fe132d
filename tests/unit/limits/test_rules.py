from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from celeriac.core.errors import ConfigurationError
from celeriac.limits.rules import (
    Concurrency,
    Rate,
    Unique,
    Window,
    as_concurrency,
    as_rate,
    as_unique,
    parse_rate,
)


@pytest.mark.parametrize(
    ("rate", "window"),
    [
        ("100/s", Window(100, 1.0)),
        ("100/m", Window(100, 60.0)),
        ("7/h", Window(7, 3600.0)),
        (" 7 / h ", Window(7, 3600.0)),
        ("10", Window(10, 1.0)),
        (10, Window(10, 1.0)),
        (2.5, Window(5, 2.0)),
        ("0.5/m", Window(1, 120.0)),
        (0.1, Window(1, 10.0)),
    ],
)
def test_a_rate_is_so_many_in_a_window(rate: Any, window: Window) -> None:
    assert parse_rate(rate) == window


@given(st.integers(1, 10**6), st.sampled_from([("s", 1), ("m", 60), ("h", 3600)]))
def test_a_rate_keeps_its_number_whatever_its_unit(number: int, unit: tuple[str, int]) -> None:
    assert parse_rate(f"{number}/{unit[0]}") == Window(number, float(unit[1]))


@given(st.fractions(Fraction(1, 1000), 1000, max_denominator=1000))
def test_a_fraction_of_a_rate_is_the_same_share_of_a_longer_window(rate: Fraction) -> None:
    window = parse_rate(float(rate))
    assert Fraction(window.limit) / Fraction(window.seconds) == rate


@pytest.mark.parametrize(
    "rate", [0, -1, "0/s", "many", "1/d", "/s", "1/0", True, None, [], float("nan"), "1e99/s"]
)
def test_what_is_no_rate_is_refused_with_an_example(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"write a positive rate as '100/s'"):
        parse_rate(rate)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"args": "order_id"}, r"args is 'order_id'; write names of arguments as a tuple: \('order_id',\)"),
        ({"within": 0}, "between 0 and a year"),
        ({"within": "1h"}, "number of seconds"),
        ({"within": True}, "number of seconds"),
        ({"until": "don"}, "did you mean 'done'"),
        ({"duplicate": "rise"}, "did you mean 'raise'"),
        ({"untill": "done"}, "no field 'untill'; did you mean 'until'"),
        ("yes", "write True or Unique"),
    ],
)
def test_a_mistake_in_unique_says_what_to_write(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        as_unique(given)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True])
def test_max_concurrency_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="whole number from 1 up"):
        as_concurrency(limit)


def test_a_key_is_a_tuple_of_names_or_a_function() -> None:
    assert Concurrency(1, key=["a"]).key == ("a",)  # type: ignore[arg-type]
    assert Rate(1, key=len).key is len
    with pytest.raises(ConfigurationError, match="key is 'a'"):
        Concurrency(1, key="a")  # type: ignore[arg-type]


def test_short_forms_mean_the_defaults() -> None:
    assert as_unique(True) == Unique(None, 3600.0, "done", "existing")
    assert as_unique(False) is as_unique(None) is None
    assert as_rate("5/m") == Rate("5/m")
    assert as_concurrency(3) == Concurrency(3)
    assert as_rate(None) is as_concurrency(None) is None


def test_unique_travels_as_an_option_of_a_signature() -> None:
    rule = Unique(args=("order_id",), within=60, until="expiry", duplicate="drop")
    assert as_unique(loads(dumps(rule))) == rule
    assert as_unique(msgspec.to_builtins(rule)) == rule
