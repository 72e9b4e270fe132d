"""The commands, one in each file, as Django finds them.

May import: core, django, Django.
Read first: purge_inbox.py.
"""
