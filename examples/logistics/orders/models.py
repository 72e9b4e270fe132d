"""What is kept: orders, the one shipment each of them gets, and a ledger of what really happened."""

import os
import uuid

from django.db import models
from django.utils import timezone


class Service(models.TextChoices):
    ECONOMY = "economy"
    STANDARD = "standard"
    EXPRESS = "express"


class Order(models.Model):
    """A parcel that somebody wants to have sent."""

    # Random, so that the key of an order that was rolled back is never given to another.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.CharField(max_length=20, unique=True)
    created = models.DateTimeField()
    service = models.CharField(max_length=10, choices=Service)
    sender_city = models.CharField(max_length=40)
    recipient_city = models.CharField(max_length=40)
    weight_grams = models.PositiveIntegerField()
    length_mm = models.PositiveIntegerField()
    width_mm = models.PositiveIntegerField()
    height_mm = models.PositiveIntegerField()
    declared_value_cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.number


class Shipment(models.Model):
    """The label that was printed for an order, and what it costs; there is at most one."""

    order = models.OneToOneField(Order, primary_key=True, on_delete=models.PROTECT)
    price_cents = models.PositiveIntegerField()
    tracking_number = models.CharField(max_length=20, unique=True)

    def __str__(self) -> str:
        return self.tracking_number


class LedgerEntry(models.Model):
    """One line of what happened to an order; lines are only ever added.

    The order's key is a plain value: the ledger also remembers orders that do not exist.
    """

    class What(models.TextChoices):
        STARTED = "started"
        SHIPPED = "shipped"
        ROLLED_BACK = "rolled back"
        ORPHAN = "orphan"

    order_id = models.UUIDField()
    what = models.CharField(max_length=11, choices=What)
    pid = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.order_id} {self.what}"

    @classmethod
    def add(cls, order_id: uuid.UUID | str, what: What) -> None:
        """Write down what this process just did; part of the transaction, if there is one."""
        cls.objects.create(order_id=order_id, what=what, pid=os.getpid())
