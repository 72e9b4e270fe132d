"""Quick tests of the suite that need nothing but a worker: canvas, tasks, results and remote control."""

from __future__ import annotations

__all__ = ["QUICK"]

_TESTS = {
    "test_canvas.py::test_link_error": """
        test_link_error_eager test_link_error test_link_error_callback_retries
        test_link_error_using_signature
        """,
    "test_canvas.py::test_chain": """
        test_simple_chain test_chain_of_chain_with_a_single_task test_chain_on_error
        test_eager_chain_inside_task test_second_order_replace test_replace_with_chain_that_contains_a_group
        test_chain_of_nine_chords test_chain_of_task_a_group_and_a_chord
        test_upgrade_to_chord_inside_chains test_chain_skips_empty_groups_before_chord_body
        """,
    "test_canvas.py::test_group": """
        test_ready_with_exception test_empty_group_result test_group_lone test_nested_group_group
        test_nested_group_chord_body_chain
        """,
    "test_canvas.py::test_chord": """
        test_chord_order test_replaced_nested_chord test_add_to_chord test_add_chord_to_chord test_group_chain
        test_group_args_and_kwargs test_single_task_header test_empty_header_chord test_chord_on_error
        test_chord_in_chords_with_chains test_error_propagates_to_chord_from_chain
        test_chord_header_task_replaced_with_chain test_chord_header_with_empty_chains
        """,
    "test_canvas.py::test_xmap_xstarmap": "test_starmap_in_a_group_and_a_chain",
    "test_canvas.py::test_signature_serialization": """
        test_rebuild_nested_group_chain test_rebuild_nested_chord_chord
        """,
    "test_canvas.py::test_stamping_mechanism": """
        test_stamping_example_canvas test_stamps_remain_on_task_retry test_replace_merge_stamps
        """,
    "test_inspect.py::test_Inspect": "test_ping test_clock test_active_queues test_scheduled test_conf",
    "test_redis_backend.py": """
        test_failure_expires test_chord_expires test_concurrent_result_gets_on_shared_pubsub
        test_chord_part_return_records_each_header_task_once
        """,
    "test_tasks.py::test_class_based_tasks": "test_class_based_task_retried",
    "test_tasks.py::test_tasks": """
        test_simple_call test_reject_with_requeue_redelivers_and_succeeds
        test_pydantic_annotations test_fail test_wrong_arguments test_retry_switches_from_args_to_kwargs
        test_fail_with_unpickleable_exception test_task_retried_once test_task_retried_once_with_expires
        test_task_retried_priority test_request_time_limits_set_via_apply_async
        test_soft_time_limit_exceeding_time_limit
        """,
    "test_tasks.py::test_task_redis_result_backend": """
        test_ignoring_result_no_subscriptions test_retry_preserves_ignore_result_false
        test_asyncresult_forget_cancels_subscription test_asyncresult_get_cancels_subscription
        """,
    "test_tasks.py::test_task_replacement": "test_replaced_task_nesting_increments",
}

#: As pytest names them, below the suite's folder.
QUICK = tuple(f"t/integration/{place}::{name}" for place, names in _TESTS.items() for name in names.split())
