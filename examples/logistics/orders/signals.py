"""Asks for the work that a new order needs."""

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from .models import Order
from .tasks import process_order


@receiver(post_save, sender=Order)
def process_new_order(instance: Order, created: bool, **_: Any) -> None:
    """Once the order is committed, its task is on its way; after a rollback there is none."""
    if created:
        process_order.delay(instance)
