"""The reference application on one machine, with workers killed on the way: ``celeriac demo``.

It runs the project of examples/logistics as real processes and counts afterwards, in the
application's own database, what was lost or done twice.

May import: core, brokers and the package's public names; rich, click. It runs Celery and Django only
as other processes.
Read first: scenario.py (the steps in order), then ledger.py (where the figures come from).
"""
