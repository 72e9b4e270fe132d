"""The tasks of tests.apps.ledger on queues of several exchanges and bindings."""

from __future__ import annotations

from kombu import Exchange, Queue

from tests.apps.ledger import app

__all__ = ["app"]

media = Exchange("media", type="topic")

app.conf.task_queues = [
    Queue("celery", Exchange("celery"), routing_key="celery"),
    Queue("images", media, routing_key="image.*"),
    Queue("everything", media, routing_key="#"),
    Queue("mail", Exchange("mail", type="direct"), routing_key="letters"),
]
app.conf.task_create_missing_queues = False
