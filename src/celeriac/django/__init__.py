"""Django's side of background work: outbox, inbox, references to rows, versions of rows, task records.

Add ``"celeriac.django"`` to INSTALLED_APPS and migrate. May import: core, brokers, Django.
Read first: models/__init__.py, then outbox.py; Celery's side is celeriac/bridge/django.
"""
