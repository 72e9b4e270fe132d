"""How many pods a pool of workers needs: a brain, the rivals it is measured against, and a simulator.

May import: core; numpy, click. No I/O but reading a trace; time and randomness are passed in.
Read first: view.py (what a policy sees), brain.py (what ours makes of it), simulation.py (the judge).
"""
