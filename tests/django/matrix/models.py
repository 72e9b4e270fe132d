from __future__ import annotations

from django.db import models


class Order(models.Model):
    """What a transaction changes, beside the call that it makes."""

    key = models.CharField(max_length=60, db_index=True)
    lane = models.CharField(max_length=60)

    class Meta:
        app_label = "matrix"


class Effect(models.Model):
    """What the task changes; nothing but the inbox keeps there from being two of an order."""

    key = models.CharField(max_length=60, db_index=True)

    class Meta:
        app_label = "matrix"
