"""Pages of Django's admin: outbox, dead messages, inbox and task records, to look at and to try again.

May import: core, Django. Read first: read_only.py.
"""

from celeriac.django.admin.inbox import InboxEntryAdmin
from celeriac.django.admin.outbox import DeadOutboxMessageAdmin, OutboxMessageAdmin
from celeriac.django.admin.task_records import TaskRecordAdmin

__all__ = ["DeadOutboxMessageAdmin", "InboxEntryAdmin", "OutboxMessageAdmin", "TaskRecordAdmin"]
