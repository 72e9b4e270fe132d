"""Pages of Django's admin: outbox, dead letters, inbox and task records, to look at and to try again.

May import: core, Django. Read first: read_only.py.
"""

from celeriac.django.admin.dead_letters import DeadLetterAdmin
from celeriac.django.admin.inbox import InboxEntryAdmin
from celeriac.django.admin.outbox import DeadOutboxMessageAdmin, OutboxMessageAdmin
from celeriac.django.admin.task_records import TaskRecordAdmin

__all__ = [
    "DeadLetterAdmin",
    "DeadOutboxMessageAdmin",
    "InboxEntryAdmin",
    "OutboxMessageAdmin",
    "TaskRecordAdmin",
]
