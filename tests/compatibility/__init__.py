"""Writes docs/compatibility.md: what Celery has, which test shows that it works here, and what differs.

    python -m tests.compatibility

Celery itself says what there is (catalogue.py), the marks of the tests say what is shown (marks.py), and
docs/compatibility.toml says why the rest is not (remarks.py).
"""
