"""One broker, one file: where messages wait and leases are kept.

May import: core. Nothing outside this room asks which broker it has; it asks ``broker.features``.
Read first: memory.py, the shortest complete one; then connect.py, which turns a URL into a broker.
"""
