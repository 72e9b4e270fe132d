"""The worker: a supervisor and its shards.

May import: core. Knows neither Celery nor any concrete broker.
Read first: run.py (one delivery, step by step), then shard.py and supervisor.py.
"""
