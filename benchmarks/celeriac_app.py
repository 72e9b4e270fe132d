"""The same application on Celeriac."""

from __future__ import annotations

from workload import configure

from celeriac import Celery

app = configure(Celery("bench"))
