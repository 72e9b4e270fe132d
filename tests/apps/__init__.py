"""Celery apps that tests run in real worker processes, configured by environment variables."""
