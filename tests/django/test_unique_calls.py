"""Unique calls made inside a transaction: what is rolled back keeps nobody away."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.django.conftest import empty
from tests.django.desk import Post
from tests.django.test_transactions import kept, rolled_back

pytestmark = pytest.mark.shows("task option", "unique")


@pytest.fixture
def post(tmp_path: Path, project: Any) -> Iterator[Post]:
    post = Post(tmp_path)

    @post.app.task(name="once", unique=True, ignore_result=True, shared=False)
    def once(what: str) -> None:
        pass

    post.once = once
    yield post
    for alias in ("default", "other"):
        empty(alias)


def test_a_rolled_back_call_gives_its_lock_back_at_once(post: Any, database: str) -> None:
    gc.disable()  # nothing is left to the garbage collector
    try:
        with rolled_back(database):
            first = post.once.delay("one")
            assert post.once.delay("one").id == first.id
        assert post.once.delay("one").id != first.id
    finally:
        gc.enable()
    assert post.arrived() == ["one"]


def test_a_committed_call_keeps_its_lock(post: Any, database: str) -> None:
    from django.db import transaction

    with transaction.atomic(database):
        first = post.once.delay("one")
    assert post.once.delay("one").id == first.id
    assert post.arrived() == ["one"]


def test_a_savepoint_gives_back_the_locks_of_its_own_calls(post: Any, database: str) -> None:
    from django.db import transaction

    with transaction.atomic(database):
        outside = post.once.delay("outside")
        with rolled_back(database):
            post.once.delay("inside")
        assert post.once.delay("outside").id == outside.id
        inside = post.once.delay("inside")
    assert post.once.delay("inside").id == inside.id
    assert post.arrived() == ["outside", "inside"]


def test_calls_made_together_give_their_locks_back(post: Any) -> None:
    from celery import group

    with rolled_back():
        post.once.delay_many([(number,) for number in range(20)])
        group(post.once.s(number) for number in range(20, 30)).apply_async()
        assert kept() == 30
    post.once.delay_many([(number,) for number in range(30)])
    assert post.arrived() == list(range(30))


def test_a_call_that_does_not_wait_keeps_its_lock(post: Any) -> None:
    with rolled_back():
        first = post.once.apply_async(("one",), outbox=False)
    assert post.once.delay("one").id == first.id


def test_a_transaction_whose_connection_is_lost_gives_the_lock_back(post: Any) -> None:
    from django.db import connection, transaction

    with transaction.atomic():
        post.once.delay("one")
        connection.close()
    post.once.delay("one")
    assert post.arrived() == ["one"]


def test_a_commit_that_a_test_plays_counts_and_what_comes_after_it_is_rolled_back(post: Any) -> None:
    from django.test import TestCase

    calls = {}

    class Case(TestCase):
        def runTest(self) -> None:  # noqa: N802 - unittest's name
            with self.captureOnCommitCallbacks(execute=True):
                calls["one"] = post.once.delay("one").id
            calls["two"] = post.once.delay("two").id

    Case().debug()
    assert post.once.delay("one").id == calls["one"]
    assert post.once.delay("two").id != calls["two"]
