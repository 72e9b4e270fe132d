"""Plain Celery apps, without a word of Celeriac but its transport and its URLs."""
