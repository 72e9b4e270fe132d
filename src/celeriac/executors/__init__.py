"""Where a task's body runs.

May import: core.
"""
