"""Public helpers for testing brokers and applications on Celeriac.

May import: core, brokers.
Read first: contract.py.
"""
