"""What every broker promises, as tests: one class per group of verbs, of which BrokerContract is the sum.

May import: core. Each test reads ``broker.features``, never a broker's name.
Read first: case.py, what all of them stand on; then claiming.py.
"""
