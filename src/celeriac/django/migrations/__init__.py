"""The migrations of Celeriac's tables.

Written by ``makemigrations``. May import: Django.
"""
