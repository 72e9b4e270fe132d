"""The command ``celeriac demo``."""

from __future__ import annotations

import secrets
import sys
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from celeriac.core.errors import ConfigurationError
from celeriac.demo.broker import DemoBroker, file_url
from celeriac.demo.interrupts import interruptible
from celeriac.demo.processes import ProcessFailed
from celeriac.demo.project import Site, find_project, temporary_folder
from celeriac.demo.report import as_json, show
from celeriac.demo.scenario import Outcome, Plan, Scenario
from celeriac.demo.view import LiveView, PlainView

__all__ = ["demo"]

_FOUND_SOMETHING = 1
_INTERRUPTED = 130


@click.command(short_help="Ship orders while workers are killed, and count what was lost.")
@click.option("--orders", type=click.Path(path_type=Path), help="A CSV file.  [default: 10,000 orders]")
@click.option("--broker", metavar="URL", help="Where the queue is.  [default: an SQLite file]")
@click.option("--shards", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read at most N rows of the file.")
@click.option("--no-kill", is_flag=True, help="Leave the worker alone.")
@click.option("--keep", is_flag=True, help="Keep the folder with the database and the logs.")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object and nothing else.")
def demo(
    orders: Path | None,
    broker: str | None,
    shards: int,
    limit: int | None,
    no_kill: bool,
    keep: bool,
    as_object: bool,
) -> None:
    """Run a parcel company on this machine, and kill its workers on the way.

    Orders are imported from a file, every twentieth is rolled back, and a task prices and ships each
    committed one. The import is killed (SIGKILL) right after a commit and started again, then a shard when
    a third of the orders is shipped, and the whole worker at two thirds. What came of it is read from the
    application's own database.

    Ends with 0 if every committed order was shipped once; 1 if not, or if the file has bad rows; 2 if
    it cannot be done as asked.

    \b
    Examples:
      celeriac demo
      celeriac demo --broker redis://localhost:6379/0 --limit 2000 --json
    """
    if not no_kill and not Path("/proc/self/task").exists():
        raise ConfigurationError("finding the processes to kill takes Linux's /proc: add --no-kill")
    project = find_project()
    file = _readable(orders or project / "data" / "orders.csv")
    plan = Plan(orders=file, shards=shards, limit=limit, kill=not no_kill)
    try:
        with interruptible(), temporary_folder(keep) as folder:
            url = broker or file_url(folder / "broker.db")
            with closing(DemoBroker(url, run=secrets.token_hex(4))) as demo_broker:
                demo_broker.check()
                site = Site(project, folder, demo_broker)
                outcome = _run(plan, site, as_object)
            _tell(outcome, demo_broker.public_url, folder if keep else None, as_object)
    except ProcessFailed as error:
        click.echo(f"Error: {error}; its last lines:\n{error.log}", err=True)
        sys.exit(_FOUND_SOMETHING)
    except KeyboardInterrupt:
        click.echo("Interrupted: all processes are stopped.", err=True)
        sys.exit(_INTERRUPTED)
    if outcome.bad_rows or not outcome.figures.faultless:
        sys.exit(_FOUND_SOMETHING)


def _run(plan: Plan, site: Site, as_object: bool) -> Outcome:
    """The scenario has been run, shown as suits whoever looks at it."""
    console = Console()
    if as_object:
        return Scenario(plan, site, PlainView(sys.stderr)).run()
    if not console.is_interactive:
        return Scenario(plan, site, PlainView(sys.stdout)).run()
    with LiveView(console) as view:
        return Scenario(plan, site, view).run()


def _tell(outcome: Outcome, broker: str, kept: Path | None, as_object: bool) -> None:
    """The outcome has been printed."""
    if as_object:
        click.echo(as_json(outcome, broker, kept))
        return
    show(Console(), outcome, broker)
    if kept is not None:
        click.echo(f"Kept: {kept}")


def _readable(file: Path) -> Path:
    """Return the file's absolute path; raise :class:`ConfigurationError` if it cannot be opened."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file} ({error.strerror}): give --orders a CSV file, or leave it out"
        ) from None
    return file.absolute()
