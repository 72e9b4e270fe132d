"""Tasks with ``idempotent=True`` and ``once``, run by Celery's tracer on each database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from celeriac import Celery
from celeriac.core.errors import ConfigurationError
from tests.django.process import ProjectProcess, project_process, sqlite_database

_MODULE = "tests.django.bank.scenarios"
_names = count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def banks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProjectProcess, ProjectProcess]]:
    """Two processes of the project on one database, which has its tables."""
    folder = tmp_path_factory.mktemp("bank")
    if request.param == "sqlite":
        database = sqlite_database(folder / "bank.db")
    else:
        database = request.getfixturevalue("postgres").database()
    environment = {
        "DATABASE": json.dumps(database),
        "BROKER": f"sqlite:///{folder}/broker.db",
        "RESULTS": f"sqlite:///{folder}/results.db",
        "TRIPWIRES": str(folder),
    }
    with ExitStack() as running:
        first, second = (
            running.enter_context(project_process(_MODULE, environment, folder / "log")) for _ in range(2)
        )
        first.call("migrate")
        yield first, second


@pytest.fixture
def bank(banks: tuple[ProjectProcess, ProjectProcess]) -> ProjectProcess:
    """A process of the project, whose queue is empty."""
    banks[0].call("waiting")
    return banks[0]


@pytest.fixture
def order() -> str:
    return f"order-{next(_names)}"


@pytest.mark.shows("beyond", "idempotent tasks in Django")
def test_a_message_that_is_delivered_twice_has_its_effect_once_and_its_result_twice(
    bank: ProjectProcess, order: str
) -> None:
    first = bank.call("deliver", "charge", order, id=order)
    again = bank.call("deliver", "charge", order, id=order)
    assert first == again
    assert again["result"] == {"order": order, "cents": 1}
    assert bank.call("charges", order) == 1


def test_messages_with_ids_of_their_own_are_not_the_same(bank: ProjectProcess, order: str) -> None:
    for number in range(3):
        bank.call("deliver", "charge", order, id=f"{order} {number}")
    assert bank.call("charges", order) == 3


def test_a_result_of_none_is_a_result(bank: ProjectProcess, order: str) -> None:
    for _ in range(2):
        assert bank.call("deliver", "charge_silently", order, id=order)["state"] == "SUCCESS"
    assert bank.call("charges", order) == 1


def test_a_business_key_makes_messages_with_different_ids_the_same(bank: ProjectProcess, order: str) -> None:
    first = bank.call("deliver", "charge_order", order, 7, id=f"{order} 1")
    second = bank.call("deliver", "charge_order", order, 7, id=f"{order} 2")
    assert (first["result"], second["result"]) == (7, 7)
    assert bank.call("charges", order) == 1


def test_a_key_with_other_arguments_is_an_error(bank: ProjectProcess, order: str) -> None:
    bank.call("deliver", "charge_order", order, 7, id=f"{order} 1")
    other = bank.call("deliver", "charge_order", order, 8, id=f"{order} 2")
    assert other["state"] == "FAILURE"
    assert "KeyReused" in other["error"]
    assert "with other arguments" in other["error"]
    assert bank.call("charges", order) == 1


def test_a_duplicate_may_be_skipped(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_amount", order, 5, id=f"{order} 1")["result"] == 5
    again = bank.call("deliver", "charge_amount", order, 5, id=f"{order} 2")
    assert (again["state"], again["stored"]) == ("IGNORED", "PENDING")
    assert bank.call("deliver", "charge_amount", order, 6, id=f"{order} 3")["result"] == 6
    assert bank.call("charges", order) == 2


def test_a_duplicate_may_fail(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_strictly", order, id=f"{order} 1")["state"] == "SUCCESS"
    again = bank.call("deliver", "charge_strictly", order, id=f"{order} 2")
    assert again["state"] == "FAILURE"
    assert "AlreadyDone" in again["error"]
    assert bank.call("charges", order) == 1


def test_keys_that_differ_only_in_case_are_different(bank: ProjectProcess, order: str) -> None:
    for spelling in (order.lower(), order.upper(), f"{order.upper()} "):
        bank.call("deliver", "charge_order", spelling, id=spelling)
    assert len(bank.call("entries", "charge_order")) >= 3
    assert [bank.call("charges", name) for name in (order.lower(), order.upper())] == [1, 1]


@pytest.mark.shows("beyond", "idempotent tasks in Django")
def test_a_retry_rolls_back_and_leaves_at_once(bank: ProjectProcess, order: str) -> None:
    for attempt in range(3):
        run = bank.call("deliver", "charge_later", order, 2, id=order, retries=attempt)
        assert run["state"] == ("SUCCESS" if attempt == 2 else "RETRY")
        expected = [] if attempt == 2 else [["charge_later", order, attempt + 1]]
        assert bank.call("waiting") == expected
    assert bank.call("charges", order) == 1


def test_a_failure_rolls_back_and_is_retried_as_autoretry_says(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_and_fail", order, id=order)["state"] == "RETRY"
    assert bank.call("waiting") == [["charge_and_fail", order, 1]]
    assert bank.call("deliver", "charge_and_fail", order, id=order, retries=3)["state"] == "FAILURE"
    assert bank.call("waiting") == []
    assert bank.call("charges", order) == 0
    assert bank.call("entries", "charge_and_fail") == []


def test_ignore_commits_and_a_duplicate_is_ignored_too(bank: ProjectProcess, order: str) -> None:
    for _ in range(2):
        assert bank.call("deliver", "charge_and_ignore", order, id=order)["state"] == "IGNORED"
    assert bank.call("charges", order) == 1


def test_reject_rolls_back(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_and_reject", order, id=order)["state"] == "REJECTED"
    assert bank.call("charges", order) == 0
    assert bank.call("entries", "charge_and_reject") == []


def test_a_task_may_replace_itself(bank: ProjectProcess, order: str) -> None:
    bank.call("waiting")
    assert bank.call("deliver", "charge_by_halves", order, 4, id=order)["state"] == "IGNORED"
    again = bank.call("deliver", "charge_by_halves", order, 4, id=order)
    assert again["state"] == "IGNORED"
    assert [task for task, *_ in bank.call("waiting")] == ["charge_by_halves"]
    last = bank.call("deliver", "charge_by_halves", order, 1, id=order, replaced_task_nesting=1)
    assert last["result"] == 1
    assert bank.call("charges", order) == 2


def test_what_a_task_calls_leaves_with_its_commit(bank: ProjectProcess, order: str) -> None:
    bank.call("waiting")
    for _ in range(2):
        bank.call("deliver", "charge_and_call", order, id=order)
    assert [task for task, *_ in bank.call("waiting")] == ["charge"]


def test_an_error_that_was_caught_does_not_roll_back_in_silence(bank: ProjectProcess, order: str) -> None:
    careless = bank.call("deliver", "charge_carelessly", order, id=order)
    if careless["state"] == "SUCCESS":  # a database that goes on after an error
        assert bank.call("charges", order) == 1
    else:
        assert "transaction.atomic() of its own" in careless["error"]
        assert bank.call("entries", "charge_carelessly") == []
    assert bank.call("deliver", "charge_carefully", f"{order} 2", id=f"{order} 2")["state"] == "SUCCESS"
    assert bank.call("charges", f"{order} 2") == 1


def test_a_result_that_cannot_be_kept_is_an_error_and_changes_nothing(
    bank: ProjectProcess, order: str
) -> None:
    run = bank.call("deliver", "charge_object", order, id=order)
    assert run["state"] == "FAILURE"
    assert "return plain data, or set on_duplicate='skip'" in run["error"]
    assert bank.call("charges", order) == 0


def test_a_task_that_calls_itself_makes_a_plain_call(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_twice_by_hand", order, id=order)["result"] == f"{order} inner"
    assert bank.call("charges", order) == 2


def test_a_call_as_a_function_and_an_eager_one_do_what_they_say(bank: ProjectProcess, order: str) -> None:
    entries = bank.call("entries")
    for _ in range(2):
        assert bank.call("call", "charge", order, 3) == {"order": order, "cents": 3}
    assert bank.call("entries") == entries
    assert bank.call("apply", "charge_order", f"{order} eager", 4) == ["SUCCESS", 4]
    assert bank.call("apply", "charge_order", f"{order} eager", 4) == ["SUCCESS", 4]
    assert bank.call("charges", f"{order} eager") == 1


def test_a_base_class_of_ones_own_is_called_within_the_transaction(bank: ProjectProcess, order: str) -> None:
    assert bank.call("deliver", "charge_audited", order, id=order)["state"] == "RETRY"
    assert bank.call("waiting") == [["charge_audited", order, 1]]
    for _ in range(2):
        run = bank.call("deliver", "charge_audited", order, id=order, retries=1)
        assert run["result"] == ["audited", order]
    assert bank.call("charges", order) == 1


def test_a_task_that_is_a_class_says_so_itself(bank: ProjectProcess, order: str) -> None:
    assert bank.call("options", "charge_by_class") == [True, True]
    for _ in range(2):
        assert bank.call("deliver", "charge_by_class", order, id=order)["result"] == order
    assert bank.call("charges", order) == 1


def test_keys_for_other_services_are_the_same_for_each_run(bank: ProjectProcess, order: str) -> None:
    pay, ship, again = bank.call("deliver", "keys", order, id=order)["result"]
    assert pay == again != ship
    other = bank.call("deliver", "keys", order, id=f"{order} 2")["result"]
    assert pay not in other
    with pytest.raises(RuntimeError, match="ask for a key in a task with idempotent=True"):
        bank.call("call", "keys", order)


def test_once_is_told_to_the_first_that_comes_to_its_end(bank: ProjectProcess, order: str) -> None:
    assert "ValueError" in bank.call("deliver", "charge_once", order, True, id=f"{order} 1")["error"]
    assert bank.call("charges", order) == 0
    firsts = [bank.call("deliver", "charge_once", order, id=f"{order} {n}")["result"] for n in (2, 3)]
    assert firsts == [True, False]
    assert bank.call("charges", order) == 1


@pytest.mark.shows("beyond", "idempotent tasks in Django")
def test_a_concurrent_duplicate_waits_for_the_first_and_gets_its_result(
    banks: tuple[ProjectProcess, ProjectProcess], order: str
) -> None:
    for process in banks:
        process.begin("deliver", "charge", order, 2, 0.5, id=order)
    results = [process.end()["result"] for process in banks]
    assert results == [{"order": order, "cents": 2}] * 2
    assert banks[0].call("charges", order) == 1


def test_a_concurrent_duplicate_does_it_if_the_first_fails(
    banks: tuple[ProjectProcess, ProjectProcess], order: str
) -> None:
    banks[0].begin("deliver", "charge_once", order, True, id=f"{order} 1")
    banks[1].begin("deliver", "charge_once", order, False, id=f"{order} 2")
    assert banks[0].end()["state"] == "FAILURE"
    assert banks[1].end()["result"] is True
    assert banks[0].call("charges", order) == 1


def test_old_entries_are_deleted_and_others_are_not(bank: ProjectProcess, order: str) -> None:
    bank.call("deliver", "charge", order, id=order)
    before = len(bank.call("entries"))
    bank.call("add_old", 2500, 3600)
    assert bank.call("purge", 7200) == 0
    assert bank.call("purge", 1800) == 2500
    assert len(bank.call("entries")) == before
    bank.call("deliver", "charge", order, id=order)
    assert bank.call("charges", order) == 1


def test_who_adds_entries_deletes_old_ones(bank: ProjectProcess, order: str) -> None:
    bank.call("add_old", 100, 8 * 24 * 3600)
    for number in range(12):
        bank.call("deliver", "charge_silently", order, id=f"{order} {number}")
    assert bank.call("purge", 7 * 24 * 3600) == 0


@pytest.mark.shows("task option", "acks_late")
@pytest.mark.shows("task option", "reject_on_worker_lost")
def test_late_acknowledgement_follows(bank: ProjectProcess) -> None:
    assert bank.call("options", "charge") == [True, True]
    assert bank.call("options", "charge_order") == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idempotent": True, "on_duplicate": "ignore"}, "on_duplicate is one of 'return', 'skip', 'raise'"),
        ({"idempotency_key": "ordre"}, "has no argument 'ordre'; did you mean 'order'?"),
    ],
)
def test_a_mistake_in_the_options_is_told(bank: ProjectProcess, options: Any, message: str) -> None:
    with pytest.raises(RuntimeError) as error:
        bank.call("define", options)
    assert message in str(error.value)


def test_coroutines_are_refused_and_plain_tasks_left_alone(bank: ProjectProcess) -> None:
    with pytest.raises(RuntimeError, match="cannot be idempotent as it is an async def"):
        bank.call("define", {"idempotent": True}, is_async=True)
    assert bank.call("define", {}) is False
    assert bank.call("define", {"idempotent": True}) is True


def test_outside_of_django_there_is_no_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    app = Celery("plain", set_as_current=False)
    with pytest.raises(ConfigurationError, match="needs a Django project: set DJANGO_SETTINGS_MODULE"):

        @app.task(idempotent=True, name="charge", lazy=False, shared=False)
        def charge() -> None: ...
