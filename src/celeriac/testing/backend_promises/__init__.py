"""What every backend of Django's Tasks framework promises, as tests: one class per group.

May import: django. Each test reads what the backend says it supports, never its name.
Read first: case.py, what all of them stand on; then calling.py.
"""
