"""The private servers of one pair of database and broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.django.matrix.outages import Restartable
from tests.django.servers import restartable_mariadb, restartable_postgres, restartable_rabbitmq
from tests.servers import redis_server

__all__ = ["Place", "place"]

#: After so long a transaction that does nothing is ended: a claim lasts no longer.
_CLAIMS_END: Mapping[str, Mapping[str, str]] = {
    "postgres": {"options": "-c idle_in_transaction_session_timeout=1000"},
    "mariadb": {"init_command": "SET SESSION idle_transaction_timeout=1"},
}


@dataclass(frozen=True)
class Place:
    """Django's settings for the database, the broker's URL, and those of both that are servers."""

    database: dict[str, Any]
    broker: str
    servers: Mapping[str, Restartable]


@contextmanager
def place(database: str, broker: str, folder: Path) -> Iterator[Place]:
    """Both are there for the time of the block, in the folder where they are files."""
    servers: dict[str, Restartable] = {}
    with ExitStack() as stack:
        if database == "sqlite":
            options = _sqlite(folder)
        else:
            making = {"postgres": restartable_postgres, "mariadb": restartable_mariadb}[database]
            options, servers["database"] = stack.enter_context(making())
            options["OPTIONS"] = _CLAIMS_END[database]
        url = f"sqlite:///{folder}/broker.db"
        if broker == "redis":
            redis = servers["broker"] = stack.enter_context(redis_server("--appendfsync", "always"))
            url = redis.url
        elif broker == "rabbitmq":
            url, servers["broker"] = stack.enter_context(restartable_rabbitmq())
        yield Place(options, url, servers)


def _sqlite(folder: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "shop.db"),
        "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
    }
