"""What is seen of workers, queues and tasks from outside: numbers, health, and what to do about them.

May import: core, the standard library, msgspec, prometheus-client (the extra ``metrics``).
Read first: tally.py (what a shard counts), report.py (what a worker tells), metrics.py (what is scraped).
"""
