from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import connection, models

from celeriac.django.row_digest import RowDigest
from celeriac.django.version_field import VersionField
from celeriac.django.versioned import Versioned
from celeriac.django.xmin_field import XminField


class Customer(models.Model):
    """Has no versions."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Order(Versioned):
    customer = models.ForeignKey(Customer, models.CASCADE, null=True)
    status = models.CharField(max_length=20, default="new")
    total = models.DecimalField(max_digits=9, decimal_places=2, default=0)
    tags = models.JSONField(default=list, blank=True)
    version = VersionField()

    def __str__(self) -> str:
        return f"of {self.customer}"  # reads another row


class Rush(Order):
    """A table of its own beside its parent's."""

    courier = models.CharField(max_length=20, default="")


class Late(Order):
    """The same table."""

    class Meta:
        proxy = True


class Product(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    stock = models.IntegerField(default=0)
    version = RowDigest(fields=("stock",))


class Line(models.Model):
    pk = models.CompositePrimaryKey("order_id", "number")
    order = models.ForeignKey(Order, models.CASCADE)
    number = models.IntegerField()
    text = models.CharField(max_length=20, default="")


class Hidden(models.Manager[Any]):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(deleted=False)


class Note(models.Model):
    """Its default manager does not show all rows."""

    text = models.CharField(max_length=20)
    deleted = models.BooleanField(default=False)
    objects: ClassVar[Any] = Hidden()


if connection.vendor == "postgresql":

    class Legacy(Versioned):
        """A table that cannot get a column."""

        status = models.CharField(max_length=20, default="new")
        row_version = XminField()
