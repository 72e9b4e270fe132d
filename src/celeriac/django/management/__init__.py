"""Commands of ``manage.py``.

May import: core, Django.
"""
