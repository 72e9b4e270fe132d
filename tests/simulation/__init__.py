"""The engine under virtual time: thousands of seeded schedules of crashes, delays and skewed clocks.

Supervisor, shard, keeper, settler, runner, journal and the memory broker are the real ones; only what
they ask of the operating system (time, processes, threads, signals) is simulated. Read first:
schedule.py, then world.py and witness.py.
"""
