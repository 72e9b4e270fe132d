"""One small module for each contender: its app, how it enqueues, how one waits for its results.

A module here is imported by the contender's own worker and producer, never by the harness, which knows
contenders from ``lineup.py`` only. ``adapter.py`` says what a module must offer.
"""
