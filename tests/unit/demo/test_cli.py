from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from celeriac import __version__
from celeriac.cli import LazyGroup, celery_command
from celeriac.core.errors import ConfigurationError, MissingExtra


def run(*arguments: str, command: click.Command = celery_command) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_version() -> None:
    assert run("--version") == (0, f"celeriac {__version__}\n", "")


def test_help_lists_the_commands() -> None:
    code, text, _ = run("--help")
    assert code == 0
    assert re.search(r"^  demo +Ship orders", text, re.MULTILINE)


COMMANDS = [
    [],
    ["demo"],
    ["metrics"],
    ["dead"],
    *(["dead", name] for name in ("list", "show", "retry", "drop")),
]


@pytest.mark.parametrize("arguments", [[*command, "--help"] for command in COMMANDS])
def test_every_help_has_an_example(arguments: list[str]) -> None:
    code, text, _ = run(*arguments)
    assert code == 0
    assert "Example" in text
    command = " ".join(arguments[:-1])
    assert f"\n    celeriac {command}" in text or f"\n    celeriac -A proj {command}" in text


def test_an_unknown_command_is_bad_usage() -> None:
    code, _, error = run("dmeo")
    assert code == 2
    assert "No such command 'dmeo'" in error


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (ConfigurationError("unknown setting"), "Error: unknown setting\n"),
        (
            MissingExtra("Django", "django"),
            "Error: Django is not installed: pip install 'celeriac[django]'\n",
        ),
    ],
)
def test_a_users_mistake_is_one_line(raised: Exception, line: str) -> None:
    @click.command()
    def fail() -> None:
        raise raised

    group = LazyGroup(commands={"fail": fail}, lazy={})
    assert run("fail", command=group) == (2, "", line)


def test_the_app_is_handed_on() -> None:
    seen: list[object] = []

    @click.command()
    @click.pass_obj
    def look(app: object) -> None:
        seen.append(app)

    class Outer:
        app = "the app that celery found"

    celery_command.add_command(look, "look")
    try:
        run("-A", "shop", "look")
        CliRunner().invoke(celery_command, ["look"], obj=Outer())
    finally:
        del celery_command.commands["look"]
    assert seen == ["shop", "the app that celery found"]


def test_only_the_command_asked_for_is_imported() -> None:
    group = LazyGroup(lazy={"broken": "celeriac.no_such_module:command"})
    assert group.list_commands(click.Context(group)) == ["broken"]
    with pytest.raises(ModuleNotFoundError):
        group.get_command(click.Context(group), "broken")
