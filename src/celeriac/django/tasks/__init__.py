"""A backend for Django's Tasks framework, whose tasks run in Celeriac's workers.

    TASKS = {"default": {"BACKEND": "celeriac.django.tasks.CeleriacBackend"}}

``django.tasks`` where Django has it, from 6.0 on, and the backport ``django_tasks`` before.
May import: core, Django, and of this room what needs no models at import time.
Read first: backend.py, then attempt.py.
"""

from celeriac.django.tasks.backend import CeleriacBackend
from celeriac.django.tasks.declaring import CeleriacTask, task

__all__ = ["CeleriacBackend", "CeleriacTask", "task"]
