"""Celeriac turns an ordinary Celery app into a production platform by changing one import.

    from celeriac import Celery            # was: from celery import Celery

Read first: core/broker.py (what a message goes through), then docs/internals.md.
"""

from __future__ import annotations

from celeriac.bridge.app import Celery
from celeriac.core.errors import DuplicateTask
from celeriac.limits.rules import Concurrency, Rate, Unique

__all__ = ["Celery", "Concurrency", "DuplicateTask", "Rate", "Unique", "__version__"]

__version__ = "0.1.0"
