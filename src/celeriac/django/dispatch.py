"""Claimed rows on their way out: published, and then gone, waiting for another try, or dead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from django.db import connections, transaction
from django.utils import timezone

from celeriac.core.outbox import Outlet
from celeriac.django.claims import Claim, Claims, Row, moment

__all__ = ["Dispatched", "dispatch"]

#: Seconds until a refused message is tried again, doubled with each refusal; and at most.
RETRY_FIRST: Final = 1.0
RETRY_LAST: Final = 300.0


class Dispatched(msgspec.Struct, frozen=True):
    """How many messages of a claim have left, were refused, and are dead now."""

    left: int = 0
    refused: int = 0
    dead: int = 0


def dispatch(claims: Claims, claim: Claim, outlet: Outlet, max_attempts: int) -> Dispatched:
    """Publish the claimed rows and settle them in the database.

    Raises :class:`~celeriac.core.errors.BrokerUnavailable` with nothing changed in the database.
    """
    rows = claim.rows
    if not rows:
        return Dispatched()
    reasons = outlet.publish([row.outgoing for row in rows])
    refused = {rows[place].id: (rows[place], reason) for place, reason in reasons.items()}
    stopped = {row.outgoing.ordering_key for row, _ in refused.values()} - {None}
    left = [row.id for row in rows if row.id not in refused and not _is_behind(row, stopped, refused)]
    connection = connections[claims.database]
    with transaction.atomic(claims.database, savepoint=False), connection.cursor() as cursor:
        _delete(claims, cursor, left)
        dead = [_settle_refused(claims, cursor, row, why, max_attempts) for row, why in refused.values()]
    return Dispatched(len(left), len(refused), sum(dead))


def _is_behind(row: Row, stopped: set[str | None], refused: dict[int, Any]) -> bool:
    """Whether an earlier message with the same ordering key was refused, so that this one was not sent."""
    key = row.outgoing.ordering_key
    if key not in stopped:
        return False
    return any(first.outgoing.ordering_key == key and first.id < row.id for first, _ in refused.values())


def _delete(claims: Claims, cursor: Any, ids: Sequence[int]) -> None:
    if ids:
        cursor.execute(claims.statements.delete(len(ids)), claims.statements.listed(ids))


def _settle_refused(claims: Claims, cursor: Any, row: Row, reason: str, max_attempts: int) -> bool:
    """Count the attempt; return whether it was the last one."""
    connection = connections[claims.database]
    attempts = row.attempts + 1
    if attempts >= max_attempts:
        cursor.execute(claims.statements.bury, [attempts, reason, moment(connection), row.id])
        _delete(claims, cursor, [row.id])
        return True
    seconds = min(RETRY_FIRST * 2 ** (attempts - 1), RETRY_LAST)
    until = moment(connection, timezone.now() + timedelta(seconds=seconds))
    cursor.execute(claims.statements.refuse, [attempts, reason, until, row.id])
    return False
