"""Orders, shipments and the ledger."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

WHAT = [
    ("started", "Started"),
    ("shipped", "Shipped"),
    ("rolled back", "Rolled Back"),
    ("orphan", "Orphan"),
]
SERVICE = [("economy", "Economy"), ("standard", "Standard"), ("express", "Express")]


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("number", models.CharField(max_length=20, unique=True)),
                ("created", models.DateTimeField()),
                ("service", models.CharField(choices=SERVICE, max_length=10)),
                ("sender_city", models.CharField(max_length=40)),
                ("recipient_city", models.CharField(max_length=40)),
                ("weight_grams", models.PositiveIntegerField()),
                ("length_mm", models.PositiveIntegerField()),
                ("width_mm", models.PositiveIntegerField()),
                ("height_mm", models.PositiveIntegerField()),
                ("declared_value_cents", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Shipment",
            fields=[
                (
                    "order",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        serialize=False,
                        to="orders.order",
                    ),
                ),
                ("price_cents", models.PositiveIntegerField()),
                ("tracking_number", models.CharField(max_length=20, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("order_id", models.UUIDField()),
                ("what", models.CharField(choices=WHAT, max_length=11)),
                ("pid", models.PositiveIntegerField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    )
