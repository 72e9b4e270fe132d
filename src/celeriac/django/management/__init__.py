"""What ``manage.py`` can do for the tables of Celeriac.

May import: core, django, Django.
Read first: commands/.
"""
