"""Orders, their price and their shipment.

Read first: models.py, then signals.py (how a task is asked for) and tasks.py (what it does).
"""
