"""What workers do for an order."""

from celery import Task, shared_task
from django.db import OperationalError, transaction

from . import tariff
from .models import LedgerEntry, Order, Shipment


@shared_task(bind=True, acks_late=True, max_retries=10)
def process_order(self: Task, order_id: str) -> None:
    """Price and ship the order; it is shipped once, however often this runs.

    ``acks_late`` has a crashed run repeated. Shipment and ledger line are committed together, and
    only by the run that created the shipment.
    """
    try:
        LedgerEntry.add(order_id, LedgerEntry.What.STARTED)
        ship(order_id)
    except OperationalError as error:  # the database is busy: later, rather than never
        raise self.retry(exc=error, countdown=1) from error


def ship(order_id: str) -> None:
    """The order has its shipment, unless there is no such order."""
    order = Order.objects.filter(pk=order_id).first()
    if order is None:
        LedgerEntry.add(order_id, LedgerEntry.What.ORPHAN)
        return
    label = {"price_cents": price(order), "tracking_number": order.pk.hex[:16].upper()}
    # Only now is the database locked against other writers, and not for longer than it takes.
    with transaction.atomic():
        _, created = Shipment.objects.get_or_create(order=order, defaults=label)
        if created:
            LedgerEntry.add(order_id, LedgerEntry.What.SHIPPED)


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
