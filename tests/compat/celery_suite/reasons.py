"""Why a test of the suite does not pass where it does not."""

from __future__ import annotations

__all__ = ["reason_for"]

_IN_THE_SUITES_PROCESS = "looks into the suite's own process for what happened in the worker's"
_SIGNALS_THERE = f"{_IN_THE_SUITES_PROCESS}: a signal that it sends"
_OTHERS_LISTEN = "expects that nobody waits for results in all of Redis; tests before it still do"
_BY_TEST = {
    ("", "test_mem_leak_unhandled_exceptions"): "measures 0.06 MB more memory where it allows 0.02 MB",
    ("", "test_pubsub_subscribe_churn_while_draining"): _OTHERS_LISTEN,
    ("", "test_pubsub_reentrant_cancel_from_finalizer"): _OTHERS_LISTEN,
    ("", "test_pidbox_reset_after_repeated_control_errors"): (
        "waits for a result after a test that made this process a `solo` worker, in which waiting is an error"
    ),
    ("stock", "test_revoke_keeps_state_of_task_started_elsewhere"): (
        "kombu drops the connection for the reply, idle for 117 s in the test before"
    ),
    ("", "test_task_received_has_access_to_stamps"): _SIGNALS_THERE,
    ("", "test_linking_stamped_sig"): _SIGNALS_THERE,
    ("", "test_err_linking_stamped_sig"): _SIGNALS_THERE,
    ("", "test_replaced_task_nesting_level"): _SIGNALS_THERE,
    ("", "test_replaced_task_nesting_chain"): _SIGNALS_THERE,
    ("", "test_signal_bound_method_receivers"): _SIGNALS_THERE,
    ("process", "test_revoked_by_headers_simple_canvas"): (
        f"{_IN_THE_SUITES_PROCESS}, and changes there what is revoked"
    ),
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
