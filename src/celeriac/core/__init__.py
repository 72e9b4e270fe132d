"""The nouns and seams that everything else is made of.

May import: the standard library and msgspec. No I/O; time is passed in.
Read first: broker.py, then lease.py and executor.py.
"""
