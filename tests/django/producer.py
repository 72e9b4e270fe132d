"""A process that commits orders and their calls, and is killed where a failpoint says.

``python -m tests.django.producer ORDERS ROLLBACK_EVERY``, with ``FAILPOINT=name:number``.
"""

from __future__ import annotations

import sys

import django

from tests.django.failpoints import commit_follows, install, reach
from tests.django.shop.celery import app, note, ship

django.setup()

from django.db import transaction  # noqa: E402

from tests.django.shop.models import Order  # noqa: E402


def main(orders: int, rollback_every: int) -> None:
    app.finalize()
    install()
    for number in range(orders):
        key = f"order-{number}"
        try:
            with transaction.atomic():
                Order.objects.create(name=key)
                reach("before insert")
                transaction.on_commit(lambda: reach("after commit"))  # before what publishes the call
                ship.apply_async((key,), ordering_key="all")
                reach("after insert")
                if rollback_every and number % rollback_every == rollback_every - 1:
                    raise ZeroDivisionError
                commit_follows()
        except ZeroDivisionError:
            note(key, "rolled back")
        app.framework.desk.outbox.finish(60)  # each is published by itself, as the steps are counted
    note("", "producer done")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
