"""The short text of arguments is Celery's, whatever the arguments are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from celeriac.bridge.argsrepr import short_repr

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values, st.integers(0, 60), st.integers(0, 4))
@pytest.mark.shows("task option", "argsrepr", "kwargsrepr")
def test_the_text_is_celerys(value: Any, limit: int, levels: int) -> None:
    assert short_repr(value, limit, levels) == saferepr(value, limit, maxlevels=levels)


class Name(str):
    """A string that shows itself in another way."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<name>"


@pytest.mark.parametrize(
    "value",
    [(Decimal("1.5"),), (Name("x"),), ({1, 2},), (range(3),), ("it's", "ä\n"), ([], (), {})],
    ids=repr,
)
def test_unusual_values_have_celerys_text_too(value: Any) -> None:
    assert short_repr(value, 1024, 3) == saferepr(value, 1024, maxlevels=3)
