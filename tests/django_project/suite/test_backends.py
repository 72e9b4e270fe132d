"""The contract of backends, on Celeriac's and on those that the framework brings along."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

import pytest
from django.test import TransactionTestCase

from celeriac.django.tasks.framework import DUMMY, IMMEDIATE
from celeriac.django.test import TasksMixin
from celeriac.testing.task_backend import TaskBackendContract

CELERIAC = "celeriac.django.tasks.CeleriacBackend"


class OnCeleriac(TaskBackendContract, TasksMixin, TransactionTestCase):
    backend: ClassVar[dict[str, Any]] = {"BACKEND": CELERIAC}

    def run_queued(self) -> None:
        self.drain(raises=False, delayed=False)

    def test_it_claims_everything(self) -> None:
        claims = [name for name in dir(self.the_backend) if name.startswith("supports_")]
        assert len(claims) == 4
        assert all(getattr(self.the_backend, claim) for claim in claims)


class OnCeleriacInTransactions(TaskBackendContract, TasksMixin, TransactionTestCase):
    """Tasks whose success is recorded in their own transaction."""

    backend: ClassVar[dict[str, Any]] = {"BACKEND": CELERIAC, "OPTIONS": {"atomic": True}}

    def run_queued(self) -> None:
        self.drain(raises=False, delayed=False)


class OnDjangosImmediateBackend(TaskBackendContract, TransactionTestCase):
    backend: ClassVar[dict[str, Any]] = {"BACKEND": IMMEDIATE}
    immediate = True
    transactional = False

    def run_queued(self) -> None:
        pass


class OnDjangosDummyBackend(TaskBackendContract, TransactionTestCase):
    """It runs nothing, so that only calls can be looked at."""

    backend: ClassVar[dict[str, Any]] = {"BACKEND": DUMMY}
    transactional = False

    def run_queued(self) -> None:
        pytest.fail("nothing that runs can be asked of it")


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [
        ("Early", "a_task_that_is_due_later_waits"),
        ("UpsideDown", "larger_priorities_run_first"),
        ("LongIds", "a_call_is_ready_at_once"),
        ("MakesUpResults", "what_was_never_called_is_not_found"),
        ("Forgetful", "arguments_are_what_json_makes_of_them"),
        ("Boastful", "a_coroutine_is_refused_where_it_is_not_supported"),
    ],
)
def test_a_backend_that_breaks_a_promise_is_found_out(wrong: str, promise: str) -> None:
    class OnIt(OnCeleriac):
        backend: ClassVar[dict[str, Any]] = {"BACKEND": f"tests.django_project.suite.wrong_backends.{wrong}"}

    for case, kept in ((OnIt, False), (OnCeleriac, True)):
        if case is OnCeleriac and wrong == "Boastful":
            continue  # where coroutines are supported there is nothing to refuse
        result = unittest.TestResult()
        case(f"test_{promise}")(result)
        assert result.testsRun == 1
        assert result.wasSuccessful() == kept, result
