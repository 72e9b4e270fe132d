"""Dead letters, looked at, put back and dropped by people: ``celeriac dead``.

May import: core and bridge; rich, click. Which messages die and why is the engine's business.
Read first: letters.py, then command.py.
"""
