"""The engine's pools by the names of Celery's command line, ``asyncio`` among them.

Celery's ``-P`` takes only names that Celery knows. An app may add options to its worker's command line
(``app.user_options``), so ours adds one that reads ``-P`` in place of Celery's.
"""

from __future__ import annotations

import asyncio
from typing import Any

import click
from celery.concurrency import get_available_pool_names, get_implementation
from celery.concurrency.base import BasePool

from celeriac.core.errors import ConfigurationError

__all__ = ["ASYNCIO", "POOLS", "THREADS", "AsyncioPool", "PoolOption", "chosen_pool", "pool_name"]

ASYNCIO = "asyncio"
THREADS = "threads"

#: Pools of the engine, by the module of the class that Celery has for each.
POOLS = {
    "celery.concurrency.prefork": "prefork",
    "celery.concurrency.solo": "solo",
    "celery.concurrency.thread": THREADS,
    "celeriac.asyncio": ASYNCIO,
}


class AsyncioPool(BasePool):
    """Stands for the engine's asyncio pool where Celery wants a class; it runs nothing itself."""

    #: The banner shows the last part of it.
    __module__ = f"celeriac.{ASYNCIO}"

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise ConfigurationError("the asyncio pool needs Celeriac's worker: from celeriac import Celery")


class PoolOption(click.Option):
    """``-P`` and ``--pool`` of ``celery worker``, which know ``asyncio`` as well."""

    def __init__(self) -> None:
        names = [name for name in get_available_pool_names() if name != ASYNCIO]
        super().__init__(["--engine-pool"], type=click.Choice([*names, ASYNCIO]), hidden=True)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Take what is given as ``-P``: of two options of one name, a parser asks the later one."""
        super().add_to_parser(parser, ctx)
        parser.add_option(obj=self, opts=["-P", "--pool"], dest=self.name, action="store", nargs=1)


def chosen_pool(celerys: Any, given: str | None, configured: Any) -> Any:
    """Return the pool's class.

    ``celerys`` is what Celery has chosen knowing nothing of ``given``, the name on the command line;
    ``configured`` is the setting ``worker_pool``, which, as in Celery, comes before a plain ``prefork``.
    """
    if given is not None and not (given == "prefork" and configured):
        celerys = AsyncioPool if given == ASYNCIO else get_implementation(given) or celerys
    if celerys in (ASYNCIO, asyncio):  # Celery takes a name that it does not know for that of a module
        return AsyncioPool
    return celerys


def pool_name(pool: Any) -> str:
    """Return the engine's name for the pool of this class, or the name of its module."""
    module = pool if isinstance(pool, str) else pool.__module__
    return POOLS.get(module, module)
