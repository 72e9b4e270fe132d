"""Where the versions of Celery differ in what others see: what the installed one does."""

from __future__ import annotations

from typing import Final

from celery import VERSION
from celery.worker.request import Request

__all__ = ["RETRIES_LOST_TASKS", "TELLS_WHOLE_RETRY_POLICY", "UNSAID_IGNORE_RESULT"]

#: Whether receivers of ``before_task_publish`` and of ``task-sent`` events get the retry policy with the
#: app's defaults in it; before 5.7 they get what the caller gave, mostly None.
TELLS_WHOLE_RETRY_POLICY: Final = VERSION[:2] >= (5, 7)
#: What ``send_task`` writes where nobody says whether the result is ignored; since 5.7 the worker decides.
UNSAID_IGNORE_RESULT: Final = None if VERSION[:2] >= (5, 7) else False
#: Whether there is ``retry_on_worker_lost``, which came with 5.7.
RETRIES_LOST_TASKS: Final = hasattr(Request, "_retry_worker_lost")
