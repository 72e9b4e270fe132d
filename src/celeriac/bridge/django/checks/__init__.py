"""What ``manage.py check`` says of Celery's and Celeriac's settings, a module for each group.

May import: core, django, the rest of bridge, celery, kombu, Django.
Read first: app.py; docs/howto/django.md lists all of them.
"""

from celeriac.bridge.django.checks.register import register_checks

__all__ = ["register_checks"]
