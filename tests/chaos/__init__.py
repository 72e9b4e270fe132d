"""Real workers, killed, stopped and cut off at every named step, judged by a ledger outside of them.

Read first: campaign.py, then tripwires.py and verdict.py.
"""
