"""The tables of the outbox, the inbox and task records."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations = [
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    models.CharField(max_length=255, primary_key=True, serialize=False, verbose_name="id"),
                ),
            ],
            options={
                "verbose_name": "dead letter of the broker",
                "verbose_name_plural": "dead letters of the broker",
                "permissions": (
                    ("retry_deadletter", "Can put dead letters back into their queues"),
                    ("drop_deadletter", "Can drop dead letters"),
                ),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="DeadOutboxMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.CharField(max_length=255, verbose_name="task id")),
                ("task", models.CharField(max_length=255, verbose_name="task")),
                ("queue", models.CharField(max_length=255, verbose_name="queue")),
                (
                    "exchange",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="exchange"),
                ),
                ("payload", models.BinaryField(verbose_name="payload")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("due", models.FloatField(blank=True, null=True, verbose_name="due")),
                (
                    "ordering_key",
                    models.CharField(blank=True, max_length=255, null=True, verbose_name="ordering key"),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("error", models.TextField(blank=True, default="", verbose_name="last error")),
                ("created", models.DateTimeField(verbose_name="created")),
                ("died", models.DateTimeField(verbose_name="died")),
            ],
            options={
                "verbose_name": "dead outbox message",
                "verbose_name_plural": "dead outbox messages",
                "permissions": (("replay_deadoutboxmessage", "Can send dead messages again"),),
            },
        ),
        migrations.CreateModel(
            name="TaskRecord",
            fields=[
                ("id", models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="id")),
                ("backend", models.CharField(max_length=255, verbose_name="backend")),
                ("path", models.CharField(max_length=255, verbose_name="path")),
                ("queue_name", models.CharField(max_length=255, verbose_name="queue")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("args", models.JSONField(default=list, verbose_name="args")),
                ("kwargs", models.JSONField(default=dict, verbose_name="kwargs")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("READY", "Ready"),
                            ("RUNNING", "Running"),
                            ("FAILED", "Failed"),
                            ("SUCCESSFUL", "Successful"),
                        ],
                        default="READY",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("run_after", models.DateTimeField(blank=True, null=True, verbose_name="run after")),
                ("enqueued_at", models.DateTimeField(db_index=True, verbose_name="enqueued at")),
                ("started_at", models.DateTimeField(blank=True, null=True, verbose_name="started at")),
                (
                    "last_attempted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last attempted at"),
                ),
                (
                    "finished_at",
                    models.DateTimeField(blank=True, db_index=True, null=True, verbose_name="finished at"),
                ),
                ("return_value", models.JSONField(blank=True, null=True, verbose_name="return value")),
                ("errors", models.JSONField(default=list, verbose_name="errors")),
                ("worker_ids", models.JSONField(default=list, verbose_name="worker ids")),
                (
                    "sent_after",
                    models.PositiveIntegerField(default=0, verbose_name="attempts before the latest message"),
                ),
            ],
            options={
                "verbose_name": "task record",
                "verbose_name_plural": "task records",
                "permissions": (("retry_taskrecord", "Can run failed tasks again"),),
            },
        ),
        migrations.CreateModel(
            name="InboxEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("consumer", models.CharField(max_length=255, verbose_name="consumer")),
                ("key", models.CharField(max_length=255, verbose_name="key")),
                (
                    "fingerprint",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="fingerprint"),
                ),
                ("result", models.TextField(blank=True, null=True, verbose_name="result")),
                ("created", models.DateTimeField(db_index=True, verbose_name="created")),
            ],
            options={
                "verbose_name": "inbox entry",
                "verbose_name_plural": "inbox entries",
                "constraints": [
                    models.UniqueConstraint(fields=("consumer", "key"), name="celeriac_inbox_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.CharField(max_length=255, verbose_name="task id")),
                ("task", models.CharField(max_length=255, verbose_name="task")),
                ("queue", models.CharField(max_length=255, verbose_name="queue")),
                (
                    "exchange",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="exchange"),
                ),
                ("payload", models.BinaryField(verbose_name="payload")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("due", models.FloatField(blank=True, null=True, verbose_name="due")),
                (
                    "ordering_key",
                    models.CharField(blank=True, max_length=255, null=True, verbose_name="ordering key"),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("error", models.TextField(blank=True, default="", verbose_name="last error")),
                ("created", models.DateTimeField(verbose_name="created")),
                ("held_until", models.DateTimeField(blank=True, null=True, verbose_name="held until")),
            ],
            options={
                "verbose_name": "outbox message",
                "verbose_name_plural": "outbox messages",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ordering_key__isnull", False)),
                        fields=["ordering_key", "id"],
                        name="celeriac_outbox_order",
                    )
                ],
            },
        ),
    ]
