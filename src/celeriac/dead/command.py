"""The command ``celeriac dead``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from celeriac.bridge.find_app import broker_of, find_app
from celeriac.bridge.letters import read_body
from celeriac.core.broker import Broker
from celeriac.dead.letters import Settle, find_by_id, page, select, settle
from celeriac.dead.report import as_json, details, print_details, print_table, summary
from celeriac.dead.selection import Found, Selection, read_moment

__all__ = ["dead"]

_FOUND_SOMETHING = 1
_TASKS_SHOWN = 5

Command = TypeVar("Command", bound=Callable[..., Any])


class Deed(NamedTuple):
    """What is done to letters: the command's name, what is then said, and the broker's verb."""

    name: str
    done: str
    verb: Callable[[Broker], Settle]


RETRY = Deed("retry", "retried", lambda broker: broker.retry_dead)
DROP = Deed("drop", "dropped", lambda broker: broker.drop_dead)


def _moment(_ctx: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else read_moment(text, time.time())
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00, or an age such as 90m, 2h, 7d"
        ) from None


def choosing(command: Command) -> Command:
    """Give the command the options that select letters."""
    for option in reversed(
        (
            click.option("--queue", "queues", multiple=True, help="Only of this queue."),
            click.option("--task", "tasks", multiple=True, help="Only of this task, or 'pattern.*'."),
            click.option("--id", "task_ids", multiple=True, help="Only of the task with this id."),
            click.option("--reason", default="", metavar="TEXT", help="Only if the reason contains this."),
            click.option(
                "--since", metavar="TIME", callback=_moment, help="Only if it died then or later, e.g. 2h."
            ),
            click.option(
                "--before", metavar="TIME", callback=_moment, help="Only if it died before that, e.g. 7d."
            ),
        )
    ):
        command = option(command)
    return command


@click.group()
def dead() -> None:
    """Look at dead letters, retry or drop them.

    A dead letter is a message that will not be delivered again by itself: it killed its worker again and
    again, cannot be read, is of a task that nobody knows, or of one with dead_letter=True that failed.

    \b
    Example:
      celeriac -A proj dead list --since 2h
    """


@dead.command("list")
@click.pass_obj
@choosing
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="List at most so many.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else.")
def list_letters(app: Any, /, offset: int, limit: int, as_object: bool, **criteria: Any) -> None:
    """List dead letters, the latest first.

    Ends with 1 if there are any, so that a script can tell; with 0 if there are none.

    \b
    Example:
      celeriac -A proj dead list --task 'shop.*' --reason 'time limit' --json
    """
    selection = _selection(criteria)
    with closing(broker_of(find_app(app))) as broker:
        found, more = page(broker, selection, offset, limit)
    if as_object:
        letters = [summary(one) for one in found]
        click.echo(as_json({"offset": offset, "limit": limit, "more": more, "letters": letters}))
    elif found:
        print_table(Console(), found)
        if more:
            click.echo(f"There are more: add --offset {offset + limit}", err=True)
    else:
        click.echo("No dead letters match." if selection or offset else "No dead letters.")
    if found:
        sys.exit(_FOUND_SOMETHING)


@dead.command()
@click.pass_obj
@click.argument("letter_id", metavar="ID")
@click.option("--body", "with_body", is_flag=True, help="Decode the body, arguments and all.")
@click.option("--raw", is_flag=True, help="Print the message's bytes and nothing else.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else.")
def show(app: Any, /, letter_id: str, with_body: bool, raw: bool, as_object: bool) -> None:
    """Show one dead letter: reason, deliveries, headers, arguments.

    Arguments are shown as the task's producer chose (argsrepr), which may leave out secrets; --body
    shows what is really there. Ends with 1 if there is no such letter.

    \b
    Example:
      celeriac -A proj dead show 17 --body
    """
    celery_app = find_app(app)
    with closing(broker_of(celery_app)) as broker:
        found = find_by_id(broker, letter_id)
    if found is None:
        click.echo(f"No dead letter has the id {letter_id!r}: see celeriac dead list", err=True)
        sys.exit(_FOUND_SOMETHING)
    payload = found.letter.message.payload
    if raw:
        click.echo(payload, nl=False)
        return
    body = read_body(celery_app, payload) if with_body else None
    if as_object:
        click.echo(as_json(details(found, body)))
    else:
        print_details(Console(), found, body)


def settling(command: Command) -> Command:
    """Give the command what ``retry`` and ``drop`` have in common."""
    for option in (
        click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--all", "everything", is_flag=True, help="All letters, or all that match."),
    ):
        command = option(command)
    return click.argument("ids", metavar="[ID]...", nargs=-1)(choosing(command))


@dead.command(short_help="Put dead letters back on their queues.")
@click.pass_obj
@settling
def retry(app: Any, /, **options: Any) -> None:
    """Put dead letters back on their queues, byte for byte, as first deliveries.

    Name letters by their ids, or take --all, with filters or without. Those that die again meanwhile
    stay dead. Ends with 1 if a letter was not there any more.

    \b
    Example:
      celeriac -A proj dead retry --all --task shop.ship --since 1d
    """
    _settle(app, RETRY, **options)


@dead.command(short_help="Forget dead letters for good.")
@click.pass_obj
@settling
def drop(app: Any, /, **options: Any) -> None:
    """Forget dead letters for good.

    Name letters by their ids, or take --all, with filters or without. Ends with 1 if a letter was not
    there any more.

    \b
    Example:
      celeriac -A proj dead drop --all --before 30d --yes
    """
    _settle(app, DROP, **options)


def _settle(
    app: Any, deed: Deed, *, ids: Sequence[str], everything: bool, yes: bool, as_object: bool, **criteria: Any
) -> None:
    selection = _selection(criteria)
    _check_usage(deed, ids, everything, selection)
    with closing(broker_of(find_app(app))) as broker:
        if everything:
            with _progress() as progress:
                found = list(progress.track(select(broker, selection), description="looking"))
            ids = [one.letter.id for one in found]
            if ids and not yes:
                click.confirm(_question(deed, found), abort=True, err=True)
        ids = list(dict.fromkeys(ids))
        count = 0
        with _progress() as progress:
            task = progress.add_task(deed.done, total=len(ids))
            for asked, settled in settle(deed.verb(broker), ids):
                count += settled
                progress.advance(task, asked)
    absent = len(ids) - count
    if as_object:
        click.echo(as_json({deed.done: count, "absent": absent}))
    else:
        click.echo(f"{count:,} {deed.done}" + (f", {absent:,} not among the dead letters" if absent else ""))
    if absent:
        sys.exit(_FOUND_SOMETHING)


def _check_usage(deed: Deed, ids: Sequence[str], everything: bool, selection: Selection) -> None:
    if ids and (everything or selection):
        raise click.UsageError("name letters by their ids or select them with --all and filters, not both")
    if not ids and not everything:
        add = f"add --all to {deed.name} all that match" if selection else "take --all"
        raise click.UsageError(f"name the letters to {deed.name}, or {add}")


def _question(deed: Deed, found: Sequence[Found]) -> str:
    tasks = Counter(one.told.task or "no readable task" for one in found)
    most = ", ".join(f"{count:,} of {task}" for task, count in tasks.most_common(_TASKS_SHOWN))
    rest = "" if len(tasks) <= _TASKS_SHOWN else ", ..."
    return f"{deed.name.capitalize()} {len(found):,} dead letters ({most}{rest})?"


def _selection(criteria: dict[str, Any]) -> Selection:
    return Selection(
        queues=frozenset(criteria["queues"]),
        tasks=frozenset(criteria["tasks"]),
        task_ids=frozenset(criteria["task_ids"]),
        reason=criteria["reason"],
        since=criteria["since"],
        before=criteria["before"],
    )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
