"""The command ``celeriac``, also reachable as ``celery -A proj celeriac``; nobody imports this."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from celeriac import __version__
from celeriac.core.errors import CeleriacError, MissingExtra

__all__ = ["celery_command", "main"]


class Mistake(click.ClickException):
    """Told to the user in one line."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for, and whose users' mistakes take one line."""

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        """``lazy`` says where each command is, as ``module:attribute``."""
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if missing.name not in _EXTRAS:
                raise
            return _refusing(cmd_name, MissingExtra(missing.name, _EXTRAS[missing.name]))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CeleriacError as error:
            raise Mistake(str(error)) from None


def _refusing(name: str, reason: CeleriacError) -> click.Command:
    """A command that can only say why it cannot be had; the other commands and the help still work."""

    @click.command(
        name, help=str(reason), context_settings={"ignore_unknown_options": True}, add_help_option=False
    )
    @click.argument("_arguments", nargs=-1)
    def refuse(_arguments: tuple[str, ...]) -> None:
        raise reason

    return refuse


_COMMANDS = {
    "dead": "celeriac.dead.command:dead",
    "demo": "celeriac.demo.command:demo",
    "outbox": "celeriac.bridge.django.command:outbox",
    "metrics": "celeriac.bridge.metrics_command:metrics",
    "k8s": "celeriac.k8s.command:k8s",
    "scale": "celeriac.scaler.command:scale",
    "worker": "celeriac.bridge.worker_command:worker",
}
#: Which extra brings a library that a command is made with.
_EXTRAS = {"numpy": "scale"}


@click.group("celeriac", cls=LazyGroup, lazy=_COMMANDS)
@click.option("-A", "--app", envvar="APP", metavar="APP", help="The Celery app, as for the celery command.")
@click.version_option(__version__, prog_name="celeriac", message="%(prog)s %(version)s")
@click.pass_context
def celery_command(ctx: click.Context, app: str | None) -> None:
    """Turn an ordinary Celery app into a production platform.

    \b
    Example:
      celeriac demo
    """
    # Below the celery command, the context already holds the app that its own -A found.
    ctx.obj = app if app is not None else getattr(ctx.obj, "app", None)


def main() -> None:
    """Run the command line and exit."""
    celery_command(prog_name="celeriac")
