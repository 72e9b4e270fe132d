"""Workers under a mixed load for half an hour: nothing of theirs grows, and the ledger is equal in the end.

Read first: soak.py, then load.py, trend.py and books.py.
"""
