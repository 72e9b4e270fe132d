"""What a fleet of workers shares about its tasks: which are unique, how many start and run at a time.

May import: core and brokers (for the file below the SQLite broker), the standard library, msgspec, redis.
Read first: rules.py (what a user asks for), store.py (what all processes share), gate.py (who may start).
"""
