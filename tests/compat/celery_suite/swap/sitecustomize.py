"""Every Celery app of this interpreter is a Celeriac app, also the one that ``celery`` makes by itself.

Python imports this file at its start wherever its folder is on PYTHONPATH: in the suite's process, and in
the commands that its tests start.
"""

import celery
import celery.app.base

import celeriac

celery.Celery = celeriac.Celery
celery.app.base.Celery = celeriac.Celery
