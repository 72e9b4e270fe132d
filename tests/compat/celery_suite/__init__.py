"""Celery's own integration suite, run against Celery's worker and against Celeriac's.

The suite comes unchanged from Celery's source distribution, by the version and hash of requirements.lock.
"""
