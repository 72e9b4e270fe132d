"""The contract of backends, on Celeriac's and on those that the framework brings along."""

from __future__ import annotations

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
