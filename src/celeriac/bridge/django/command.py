"""The command ``celeriac outbox``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from celeriac.bridge.find_app import find_app
from celeriac.bridge.stop_signal import StopSignal
from celeriac.core.errors import ConfigurationError

__all__ = ["outbox"]

_FOUND_SOMETHING = 1

Command = TypeVar("Command", bound=Callable[..., Any])

_database = click.option("--database", metavar="ALIAS", help="Only of this database.")
_json = click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else.")


@click.group()
def outbox() -> None:
    """Publish what waits in a Django project's outbox, look at it, replay what was refused.

    Calls made inside a transaction are kept in its database and published after the commit: at once by
    the process that has committed, and whatever that could not publish by a relay.

    \b
    Example:
      celeriac -A proj outbox status
    """


@outbox.command()
@click.pass_obj
@_database
@click.option("--drain", is_flag=True, help="End when nothing is left.")
@click.option("--timeout", type=click.FloatRange(0), default=30.0, show_default=True, help="For --drain.")
@_json
def relay(app: Any, /, database: str | None, drain: bool, timeout: float, as_object: bool) -> None:
    """Publish what waits in the outbox, until SIGTERM or SIGINT.

    Several may run at once; with SQLite one works, and another takes over when it ends. With --drain it
    ends when nothing is left, or with 1 after --timeout seconds.

    \b
    Example:
      celeriac -A proj outbox relay
    """
    desk = _desk(app)
    desk.databases(database)
    relays = desk.relays(database)
    stop = StopSignal(signal.SIGTERM, signal.SIGINT)
    empty = True
    if drain:
        empty = relays.drain(stop, timeout)
    else:
        relays.run(stop)
    total = sum(relays.relayed.values())
    if as_object:
        click.echo(msgspec.json.encode({"relayed": relays.relayed, "empty": empty if drain else None}))
    else:
        click.echo(f"{total:,} relayed" + ("" if empty else ", and something is left"))
    if not empty:
        sys.exit(_FOUND_SOMETHING)


@outbox.command()
@click.pass_obj
@_database
@click.option(
    "--max-age", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds a message may wait."
)
@_json
def status(app: Any, /, database: str | None, max_age: float, as_object: bool) -> None:
    """Say how much waits, for how long, and how much was refused for good.

    Ends with 1 if a message waits for longer than --max-age seconds, or if any was refused for good.

    \b
    Example:
      celeriac -A proj outbox status --max-age 10 --json
    """
    desk = _desk(app)
    found = desk.measure(desk.databases(database))
    if as_object:
        click.echo(msgspec.json.encode({"outboxes": found}))
    else:
        Console().print(_table(found))
    if any(one.dead or one.oldest_seconds > max_age for one in found):
        sys.exit(_FOUND_SOMETHING)


@outbox.command()
@click.pass_obj
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All dead messages, or all of the tasks named.")
@click.option("--task", "tasks", multiple=True, help="With --all: only of this task.")
@_database
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
def replay(app: Any, /, database: str | None, yes: bool, as_object: bool, **chosen: Any) -> None:
    """Put messages that were refused for good back into the outbox.

    Name them by their ids in the admin, or take --all. Ends with 1 if one was not there any more.

    \b
    Example:
      celeriac -A proj outbox replay --all --task shop.ship --yes
    """
    ids: Sequence[int] = list(dict.fromkeys(chosen["ids"]))
    if bool(ids) == chosen["everything"]:
        raise click.UsageError("name messages by their ids, or take --all")
    if chosen["tasks"] and not chosen["everything"]:
        raise click.UsageError("--task goes with --all")
    desk = _desk(app)
    databases = desk.databases(database)
    if ids and len(databases) > 1:
        raise click.UsageError(f"several databases have an outbox: add --database {databases[0]}")
    wanted = {alias: ids or desk.dead_ids(alias, chosen["tasks"]) for alias in databases}
    asked = sum(map(len, wanted.values()))
    if chosen["everything"] and asked and not yes:
        click.confirm(f"Replay {asked:,} dead messages?", abort=True, err=True)
    count = sum(desk.replay(alias, some) for alias, some in wanted.items())
    absent = asked - count
    if as_object:
        click.echo(msgspec.json.encode({"replayed": count, "absent": absent}))
    else:
        click.echo(f"{count:,} replayed" + (f", {absent:,} not among the dead" if absent else ""))
    if absent:
        sys.exit(_FOUND_SOMETHING)


def _desk(app: Any) -> Any:
    """Return the outbox of the project; raise ConfigurationError if it has none."""
    found = find_app(app)
    found.loader.import_default_modules()
    framework = getattr(found, "framework", None)
    if framework is None:
        raise ConfigurationError(
            "the app is in no Django project: set DJANGO_SETTINGS_MODULE before it is made"
        )
    if not framework.has_outbox:
        raise ConfigurationError('the project has no outbox: add "celeriac.django" to INSTALLED_APPS')
    return framework.desk


def _table(found: Sequence[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("database")
    for name in ("waiting", "oldest", "refused", "dead"):
        table.add_column(name, justify="right")
    for one in found:
        oldest = f"{one.oldest_seconds:,.1f} s" if one.depth else ""
        table.add_row(one.database, f"{one.depth:,}", oldest, f"{one.refused:,}", f"{one.dead:,}")
    return table
