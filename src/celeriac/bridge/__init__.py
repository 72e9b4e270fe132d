"""The only room that touches Celery's and kombu's internals.

May import: core, brokers, executors, engine, celery, kombu.
Read first: app.py, then worker.py and wire.py.
"""
