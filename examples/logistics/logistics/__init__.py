"""A parcel company: orders come in, every one is priced and shipped by a background task."""

from logistics.celery import app as celery_app

__all__ = ["celery_app"]
