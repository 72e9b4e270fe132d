"""What benchmarks/outbox.py measures, one module for each question."""
