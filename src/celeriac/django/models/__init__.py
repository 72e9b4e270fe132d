"""The tables of Celeriac: what waits for its commit, what has been processed, and task records.

May import: core, Django.
Read first: outbox_message.py.
"""

from celeriac.django.models.dead_letter import DeadLetter
from celeriac.django.models.inbox_entry import InboxEntry
from celeriac.django.models.outbox_message import DeadOutboxMessage, OutboxMessage
from celeriac.django.models.task_record import TaskRecord

__all__ = ["DeadLetter", "DeadOutboxMessage", "InboxEntry", "OutboxMessage", "TaskRecord"]
