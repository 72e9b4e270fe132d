"""Why a test of the suite does not pass where it does not."""

from __future__ import annotations

__all__ = ["reason_for"]

_IN_THE_SUITES_PROCESS = "looks into the suite's own process for what happened in the worker's"
_BY_TEST = {
    ("process", "test_Inspect::test_stats"): f"{_IN_THE_SUITES_PROCESS}: its pid",
    ("process", "test_hello_stamps_received_revoked_ids_locally"): f"{_IN_THE_SUITES_PROCESS}: revoked ids",
    ("process", "test_trace_log_arguments::"): f"{_IN_THE_SUITES_PROCESS}: its log",
}


def reason_for(run: str, test: str, seen: str) -> str:
    """Return why the test does not pass in this run, as far as it is known; else what was seen."""
    for (where, part), reason in _BY_TEST.items():
        if run.endswith(where) and part in test:
            return reason
    return seen
