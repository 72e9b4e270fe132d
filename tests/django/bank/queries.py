"""Tasks that show what becomes of their database connection."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction


def one(query: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]


def who() -> int:
    """Which connection this is: the process at its other end, or the object itself where there is none."""
    if connection.vendor == "postgresql":
        return int(one("SELECT pg_backend_pid()"))
    one("SELECT 1")
    return id(connection.connection)


@shared_task
def identify() -> int:
    return who()


@shared_task
def identify_and_fail() -> None:
    raise ValueError(who())


@shared_task(bind=True, max_retries=1)
def identify_again(self: Any) -> list[int]:
    if self.request.retries:
        return [self.request.headers["first"], who()]
    raise self.retry(countdown=0, headers={"first": who()})


@shared_task
def lose_connection() -> None:
    """The server ends the connection in the middle of the task."""
    one("SELECT pg_terminate_backend(pg_backend_pid())")


@shared_task(soft_time_limit=0.5)
def sleep_in_query(seconds: float) -> str:
    """Catches the limit that hits inside of a query, and ends well."""
    try:
        one("SELECT 1 FROM pg_sleep(%s)", seconds)
    except SoftTimeLimitExceeded:
        return "interrupted"
    return "slept"


@shared_task
def leave_transaction_open() -> int:
    transaction.set_autocommit(False)
    return who()


@shared_task
async def identify_async() -> int:
    return await sync_to_async(who)()


@shared_task
def nothing() -> bool:
    """Return whether there is a connection."""
    return connection.connection is not None
