"""Kills producers, relays and workers of a Django project at every step of a call's way, and judges.

Read first: steps.py (where processes die), site.py (a run), verdict.py (what must not be), __main__.py (the
command). What runs inside of the project imports nothing of Celeriac unless that is under test, so that
others can be run in the same way.
"""
