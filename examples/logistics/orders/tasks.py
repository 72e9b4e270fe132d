"""What workers do for an order."""

from typing import Any

from celery import Task, shared_task
from django.db import OperationalError

from celeriac.django.inbox import once

from . import tariff
from .models import LedgerEntry, Order, Shipment


class OrderTask(Task):
    """A task of one order; the ledger remembers when there is no such order."""

    def on_failure(self, exc: Exception, _id: str, args: tuple[Any, ...], *_: Any) -> None:
        if isinstance(exc, Order.DoesNotExist):
            LedgerEntry.add(args[0].pk, LedgerEntry.What.ORPHAN)


@shared_task(base=OrderTask, bind=True, acks_late=True, max_retries=10, on_missing="raise")
def process_order(self: Task, order: Order) -> None:
    """Price and ship the order; it is shipped once, however often this runs.

    ``acks_late`` has a crashed run repeated. What is inside of ``once`` is committed together, by
    the first run that comes so far.
    """
    try:
        LedgerEntry.add(order.pk, LedgerEntry.What.STARTED)
        label = {"price_cents": price(order), "tracking_number": order.pk.hex[:16].upper()}
        # Only now is the database locked against other writers, and not for longer than it takes.
        with once("ship", order.pk) as first:
            if first:
                Shipment.objects.create(order=order, **label)
                LedgerEntry.add(order.pk, LedgerEntry.What.SHIPPED)
    except OperationalError as error:  # the database is busy: later, rather than never
        raise self.retry(exc=error, countdown=1) from error


def price(order: Order) -> int:
    """The order's price in cents by the current tariff."""
    return tariff.price_cents(
        zone=tariff.zone(order.sender_city, order.recipient_city),
        grams=max(
            order.weight_grams,
            tariff.volumetric_grams(order.length_mm, order.width_mm, order.height_mm),
        ),
        service=order.service,
        declared_value_cents=order.declared_value_cents,
    )
