from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core import errors
from celeriac.core.errors import (
    BrokerError,
    BrokerUnavailable,
    CeleriacError,
    ConfigurationError,
    DuplicateTask,
    MalformedMessage,
    MalformedReference,
    MissingExtra,
    StaleObject,
    UnreferableObject,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ConfigurationError, CeleriacError),
        (MissingExtra, ConfigurationError),
        (BrokerError, CeleriacError),
        (BrokerUnavailable, BrokerError),
        (DuplicateTask, CeleriacError),
        (UnreferableObject, CeleriacError),
        (StaleObject, CeleriacError),
        (MalformedMessage, CeleriacError),
        (MalformedReference, MalformedMessage),
    ],
)
def test_the_tree_of_errors(error: type[Exception], base: type[Exception]) -> None:
    assert error.__bases__ == (base,)


def test_every_error_stands_in_the_tree_drawn_at_the_top() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert {c.__name__ for c in classes} | {"did_you_mean"} == set(errors.__all__)
    assert all(issubclass(c, CeleriacError) and c.__name__ in str(errors.__doc__) for c in classes)


def test_no_error_is_mistaken_for_a_builtin_one() -> None:
    assert CeleriacError.__bases__ == (Exception,)


def test_a_missing_extra_says_what_to_install() -> None:
    error = MissingExtra("redis-py", "redis")
    assert str(error) == "redis-py is not installed: pip install 'celeriac[redis]'"
    assert (error.library, error.extra) == ("redis-py", "redis")


def test_a_stale_object_says_what_was_expected_and_what_is_there() -> None:
    error = StaleObject("shop.Order", 7, "i:1", "i:3")
    assert str(error) == ("shop.Order pk=7 was read at version i:1, and it is at i:3 now: read it again")
    assert (error.model, error.pk, error.expected, error.found) == error.args
    assert "and it is gone now" in str(StaleObject("shop.Order", 7, "i:1", None))


def test_did_you_mean_names_the_nearest_word_only() -> None:
    assert did_you_mean("prefrok", ["solo", "prefork", "threads"]) == "; did you mean 'prefork'?"
    assert did_you_mean("gevent", ["solo", "prefork", "threads"]) == ""
    assert did_you_mean("prefork", []) == ""


def test_did_you_mean_takes_any_iterable() -> None:
    assert did_you_mean("sole", iter(["solo"])) == "; did you mean 'solo'?"


@given(st.text(), st.lists(st.text()))
def test_did_you_mean_only_ever_names_known_words(word: str, known: list[str]) -> None:
    hint = did_you_mean(word, known)
    assert hint == "" or hint in {f"; did you mean {name!r}?" for name in known}
    assert hint != "" or word == "" or word not in known
