from __future__ import annotations

from django.db import models


class Charge(models.Model):
    """An effect; nothing but the tasks keeps there from being two of an order."""

    order = models.CharField(max_length=100)
    cents = models.IntegerField()

    class Meta:
        app_label = "bank"


class Receipt(models.Model):
    """There is at most one of an order."""

    order = models.CharField(max_length=100, unique=True)

    class Meta:
        app_label = "bank"
