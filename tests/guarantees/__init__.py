"""Writes what the last long runs showed into docs/guarantees.md, so that no figure there is typed by hand.

Read first: runs.py, then page.py.
"""
