"""Each module is a command, as Django finds them.

May import: core, Django.
"""
