"""``celeriac dead`` on real brokers: what is listed, put back and dropped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celeriac.cli import celery_command
from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from celeriac.dead.letters import SLICE
from tests.servers import wait_until
from tests.stage import APP, Stage


def dead(stage: Stage, *arguments: str, answer: str = "") -> Result:
    """Run ``celery -A app celeriac dead ...`` in this process."""
    obj = SimpleNamespace(app=stage.app)
    result = CliRunner().invoke(celery_command, ["dead", *arguments], obj=obj, input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def listed(stage: Stage, *arguments: str) -> list[dict[str, Any]]:
    result = dead(stage, "list", "--json", *arguments)
    letters: list[dict[str, Any]] = json.loads(result.stdout)["letters"]
    assert result.exit_code == (1 if letters else 0)
    return letters


def bury(stage: Stage, *args: Any, task: str = "add", queue: str = "celery", reason: str = "poison") -> str:
    """Bury a message of the task; return its task id."""
    sent = stage.send(task, *args, queue=queue)
    broker = stage.broker()
    broker.bury([(lease, reason) for lease in broker.claim([queue], 1, owner="t", lease_for=60).leases])
    return str(sent.id)


def letters(stage: Stage) -> list[DeadLetter]:
    return list(stage.broker().dead_letters())


@pytest.mark.shows("beyond", "dead letters are listed, filtered and paged")
def test_a_list_is_filtered_and_paged(stage: Stage) -> None:
    assert dead(stage, "list").exit_code == 0
    ids = [bury(stage, number, 1) for number in range(3)]
    mail = bury(stage, "x", task="effect", queue="mail", reason="it ran longer than its time limit")
    assert [letter["task_id"] for letter in listed(stage)] == [mail, *reversed(ids)]
    assert [letter["task_id"] for letter in listed(stage, "--offset", "1", "--limit", "2")] == ids[:0:-1]
    for filters in (
        ["--queue", "mail"],
        ["--task", f"{APP}.effect"],
        ["--task", "*.eff*"],
        ["--id", mail],
        ["--reason", "TIME limit"],
        ["--queue", "mail", "--queue", "other", "--since", "1h"],
    ):
        assert [letter["task_id"] for letter in listed(stage, *filters)] == [mail], filters
    assert listed(stage, "--before", "1h") == []
    assert listed(stage, "--queue", "mail", "--task", f"{APP}.add") == []
    table = dead(stage, "list", "--limit", "1")
    assert f"{APP}.effect" in table.stdout
    assert "it ran longer than its time limit" in table.stdout
    assert "add --offset 1" in table.stderr


def test_pages_of_more_letters_than_one_call_brings(stage: Stage) -> None:
    bury(stage, 1, 1)
    [letter] = letters(stage)
    broker = stage.broker()
    broker.send([Message(queue="celery", payload=letter.message.payload)] * (SLICE + 20))
    while leases := broker.claim(["celery"], 256, owner="t", lease_for=60).leases:
        broker.bury([(lease, "many") for lease in leases])
    assert len(listed(stage, "--limit", "10000")) == SLICE + 21
    assert len(listed(stage, "--limit", "100", "--offset", str(SLICE))) == 21
    assert dead(stage, "retry", "--all", "--yes", "--reason", "many").stdout == f"{SLICE + 20} retried\n"
    assert [one.id for one in letters(stage)] == [letter.id]
    assert stage.broker().stats(["celery"])["celery"].ready == SLICE + 20


def test_a_letter_is_shown_with_its_arguments_as_their_producer_wants(stage: Stage) -> None:
    stage.app.send_task(f"{APP}.add", args=["secret", 1], argsrepr="('***', 1)", kwargsrepr="{}")
    broker = stage.broker()
    broker.bury(
        [(one, "a\x1b[31m reason") for one in broker.claim(["celery"], 1, owner="t", lease_for=60).leases]
    )
    [letter] = letters(stage)
    shown = dead(stage, "show", letter.id)
    assert shown.exit_code == 0
    assert "('***', 1)" in shown.stdout
    assert "secret" not in shown.stdout
    assert r"a\x1b[31m reason" in shown.stdout
    assert "secret" in dead(stage, "show", letter.id, "--body").stdout
    facts = json.loads(dead(stage, "show", letter.id, "--body", "--json").stdout)
    assert facts["reason"] == "a\x1b[31m reason"
    assert facts["args"] == "('***', 1)"
    assert facts["body"]["args"] == ["secret", 1]
    assert facts["headers"]["task"] == f"{APP}.add"
    assert dead(stage, "show", letter.id, "--raw").stdout_bytes == letter.message.payload
    assert dead(stage, "show", "no-such-id").exit_code == 1


def test_a_body_whose_serializer_the_app_refuses_is_not_decoded(stage: Stage) -> None:
    stage.app.send_task(f"{APP}.add", args=[1, 1], serializer="pickle")
    broker = stage.broker()
    broker.bury([(one, "refused") for one in broker.claim(["celery"], 1, owner="t", lease_for=60).leases])
    [letter] = letters(stage)
    shown = dead(stage, "show", letter.id, "--body")
    assert shown.exit_code == 2
    assert "Error: the body cannot be decoded" in shown.stderr


@pytest.mark.shows("beyond", "dead letters come back byte for byte")
def test_named_letters_come_back_byte_for_byte(stage: Stage) -> None:
    for number in range(3):
        bury(stage, number, 1)
    third, second, first = letters(stage)
    assert dead(stage, "retry", first.id, third.id).stdout == "2 retried\n"
    assert letters(stage) == [second]
    leases = stage.broker().claim(["celery"], 9, owner="t", lease_for=60).leases
    assert [(one.message, one.deliveries) for one in leases] == [(first.message, 1), (third.message, 1)]
    again = dead(stage, "retry", "--json", first.id, second.id)
    assert (again.exit_code, json.loads(again.stdout)) == (1, {"retried": 1, "absent": 1})


def test_all_that_match_are_settled_only_after_a_question(stage: Stage) -> None:
    kept = bury(stage, 1, 1)
    for _ in range(2):
        bury(stage, "x", task="effect")
    asked = dead(stage, "drop", "--all", "--task", "*.effect", answer="n\n")
    assert asked.exit_code == 1
    assert f"Drop 2 dead letters (2 of {APP}.effect)?" in asked.stderr
    assert len(letters(stage)) == 3
    assert dead(stage, "drop", "--all", "--task", "*.effect", answer="y\n").stdout == "2 dropped\n"
    assert [letter["task_id"] for letter in listed(stage)] == [kept]
    assert dead(stage, "drop", "--all", "--task", "*.effect").stdout == "0 dropped\n"
    assert dead(stage, "drop", "--all", "--yes").stdout == "1 dropped\n"
    assert stage.broker().stats(["celery"])["celery"].ready == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retry"], "name the letters to retry, or take --all"),
        (["drop", "--queue", "q"], "add --all to drop all that match"),
        (["drop", "17", "--all"], "not both"),
        (["retry", "17", "--reason", "x"], "not both"),
        (["list", "--since", "yesterday"], "is no time: write 2026-01-31"),
    ],
)
def test_bad_usage(stage: Stage, arguments: list[str], says: str) -> None:
    bury(stage, 1, 1)
    result = dead(stage, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", " ")
    assert len(letters(stage)) == 1


CELERIAC = ["-c", "from celeriac.cli import main; main()", "-A", APP]
CELERY = ["-m", "celery", "-A", APP, "celeriac"]


@pytest.mark.parametrize("program", [CELERIAC, CELERY], ids=["celeriac", "celery"])
def test_the_command_line_finds_the_app(stage: Stage, program: list[str]) -> None:
    bury(stage, 1, 1)
    environment = {"BROKER": stage.url, "KEY_PREFIX": stage.prefix, "LEDGER": str(stage.ledger.path)}
    ran = subprocess.run(
        [sys.executable, *program, "dead", "list", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["letters"][0]["task"] == f"{APP}.add"


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ([], "no app is named: write celeriac -A proj"),
        (["-A", "no_such_module"], "cannot load the app 'no_such_module'"),
        (["-A", "tests.servers"], "cannot load the app 'tests.servers'"),
    ],
)
def test_no_app_is_one_line(app: list[str], says: str) -> None:
    result = CliRunner().invoke(celery_command, [*app, "dead", "list"])
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.shows("task option", "dead_letter")
def test_a_task_that_failed_for_good_is_a_dead_letter_if_it_wants_to(stage: Stage) -> None:
    with stage.worker("-c", "1") as worker:
        hopeless = stage.send("hopeless", "h")
        plain = stage.send("fail", "boom")
        with pytest.raises(ValueError, match="no luck"):
            hopeless.get(timeout=10)
        with pytest.raises(ValueError, match="boom"):
            plain.get(timeout=10)
        wait_until(lambda: letters(stage) != [])
        assert stage.ledger.count("started", "h") == 3
        [letter] = listed(stage)
        assert letter["task_id"] == hopeless.id
        assert letter["reason"] == "it failed after 2 retries: ValueError: no luck"
        assert dead(stage, "retry", letter["id"]).exit_code == 0
        wait_until(lambda: stage.ledger.count("started", "h") == 4)
        assert worker.stop() == 0
