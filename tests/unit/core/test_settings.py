from __future__ import annotations

from collections import ChainMap

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import PREFIXES, Settings

DEFAULTS = {
    "engine_lease_seconds": 5.0,
    "engine_max_deliveries": 5,
    "engine_batch_seconds": 0.02,
    "engine_batch_max": 256,
    "engine_settle_seconds": 0.02,
    "engine_giveback_seconds": 0.05,
    "engine_queue_order": "round_robin",
    "engine_queue_weights": {},
    "limits_url": None,
    "limits_lease_seconds": 10.0,
    "limits_publish_seconds": 30.0,
    "limits_unique_unreachable": "publish",
    "limits_unreachable": "wait",
    "outbox_enabled": True,
    "outbox_fast_seconds": 0.5,
    "outbox_fast_thread": True,
    "outbox_batch_max": 500,
    "outbox_poll_seconds": 0.05,
    "outbox_max_attempts": 5,
    "outbox_dead_retention_seconds": 2_592_000.0,
    "outbox_relay_in_worker": True,
    "inbox_retention_seconds": 604_800.0,
    "task_records_retention_seconds": 2_592_000.0,
    "references_forbidden": ("sessions.session", "authtoken.token"),
    "admin_hide_arguments": [],
    "metrics_port": None,
    "metrics_host": "127.0.0.1",
    "metrics_share": False,
    "metrics_queues": True,
    "metrics_compatible": False,
    "metrics_max_tasks": 200,
}
NUMBERS_OF_SECONDS = [name for name, value in DEFAULTS.items() if isinstance(value, float)]
COUNTS = [name for name, value in DEFAULTS.items() if type(value) is int]


def test_defaults() -> None:
    assert msgspec.structs.asdict(Settings()) == DEFAULTS
    assert Settings.from_mapping({}) == Settings()


def test_every_field_begins_with_a_prefix_of_ours() -> None:
    assert all(field.startswith(PREFIXES) for field in Settings.__struct_fields__)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().engine_batch_max = 1  # type: ignore[misc]


def test_celerys_own_settings_are_left_alone() -> None:
    configuration = {
        "broker_url": "redis://",
        "worker_concurrency": "not a number",
        "Engine_lease_seconds": "not ours: Celery's keys are lower case",
        "my_engine_lease_seconds": None,
        "engine_batch_max": 10,
    }
    before = dict(configuration)
    assert Settings.from_mapping(configuration) == Settings(engine_batch_max=10)
    assert configuration == before


def test_settings_are_found_in_any_mapping() -> None:
    layered = ChainMap({"engine_batch_max": 7}, {"engine_batch_max": 9, "engine_max_deliveries": 2})
    assert Settings.from_mapping(layered) == Settings(engine_batch_max=7, engine_max_deliveries=2)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("engine_lease_seconds", "5", 5.0),
        ("engine_lease_seconds", "7.5", 7.5),
        ("engine_lease_seconds", 8, 8.0),
        ("engine_max_deliveries", "5", 5),
        ("engine_batch_max", 12.0, 12),
        ("engine_settle_seconds", "1e-3", 0.001),
    ],
)
def test_numbers_from_the_environment_are_converted(key: str, text: object, value: float) -> None:
    found = getattr(Settings.from_mapping({key: text}), key)
    assert found == value
    assert type(found) is type(DEFAULTS[key])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("engine_leese_seconds", "engine_lease_seconds"),
        ("engine_lease_second", "engine_lease_seconds"),
        ("engine_max_delivery", "engine_max_deliveries"),
        ("engine_batchmax", "engine_batch_max"),
    ],
)
def test_a_misspelt_setting_names_the_nearest_one(key: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^unknown setting '{key}'; did you mean '{meant}'\\?$"):
        Settings.from_mapping({key: 1})


def test_an_unknown_setting_like_no_other_gets_no_guess() -> None:
    with pytest.raises(ConfigurationError, match=r"^unknown setting 'engine_zzzzzzzzz'$"):
        Settings.from_mapping({"engine_zzzzzzzzz": 1})


@given(st.text("abcdefghij_", min_size=1))
def test_no_key_of_ours_is_ever_ignored(rest: str) -> None:
    key = f"engine_{rest}"
    assume(key not in Settings.__struct_fields__)
    with pytest.raises(ConfigurationError, match=f"unknown setting '{key}'"):
        Settings.from_mapping({"broker_url": "redis://", key: 1})


@pytest.mark.parametrize("value", ["five", "5 s", "", None, [5], {"seconds": 5}, b"5"])
@pytest.mark.parametrize("key", [*NUMBERS_OF_SECONDS, *COUNTS])
def test_a_value_of_another_type_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^bad setting: Expected .*{key}"):
        Settings.from_mapping({key: value})


@pytest.mark.parametrize("value", [True, 2.5, "2.5"])
@pytest.mark.parametrize("key", COUNTS)
def test_a_count_is_a_whole_number(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^bad setting: Expected `int`.*{key}"):
        Settings.from_mapping({key: value})


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, float("nan"), "nan", "0"])
@pytest.mark.parametrize("key", NUMBERS_OF_SECONDS)
def test_seconds_are_more_than_nothing(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^bad setting: Expected `float` > 0.*{key}"):
        Settings.from_mapping({key: value})


@pytest.mark.parametrize("value", [0, -3, "0"])
@pytest.mark.parametrize("key", COUNTS)
def test_counts_are_at_least_one(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^bad setting: Expected `int` >= 1.*{key}"):
        Settings.from_mapping({key: value})
    assert getattr(Settings.from_mapping({key: 1}), key) == 1


def test_a_lease_outlives_three_renewals() -> None:
    with pytest.raises(ConfigurationError, match="engine_lease_seconds must be at least 1"):
        Settings.from_mapping({"engine_lease_seconds": 0.99})
    assert Settings.from_mapping({"engine_lease_seconds": 1}).engine_lease_seconds == 1


@given(lease=st.floats(1, 3600), batch=st.floats(0.001, 3600))
def test_a_batch_fits_twice_into_a_lease(lease: float, batch: float) -> None:
    configuration = {"engine_lease_seconds": lease, "engine_batch_seconds": batch}
    if batch <= lease / 2:
        assert Settings.from_mapping(configuration).engine_batch_seconds == batch
    else:
        with pytest.raises(
            ConfigurationError, match="engine_batch_seconds must be at most half of engine_lease"
        ):
            Settings.from_mapping(configuration)


def test_the_rules_hold_for_settings_made_in_code_too() -> None:
    with pytest.raises(ValueError, match="engine_lease_seconds must be at least 1"):
        Settings(engine_lease_seconds=0.5)
    with pytest.raises(TypeError):
        Settings(engine_lease_secnds=5)  # type: ignore[call-arg]


def test_errors_are_one_line_without_a_library_behind_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({"engine_batch_max": "many"})
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__
