"""Celery's side of ``celeriac.django``: what an app becomes inside a Django project.

May import: core, django, the rest of bridge, celery, kombu, Django.
Read first: fixup.py, then framework.py.
"""
