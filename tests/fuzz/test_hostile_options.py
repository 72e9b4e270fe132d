"""Whatever somebody writes into settings, URLs and ``-Q``, it is used or refused in words."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.bridge.queue_weights import parse_queues, with_weights
from celeriac.brokers.connect import open_broker
from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import Settings

NAMES = st.sampled_from([*Settings.__struct_fields__, "engine_", "engine_lease", "broker_url", ""])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
NUMBERS = st.floats().map(str) | st.integers().map(str) | st.just("") | st.text()
WORDS = st.text() | st.builds("{}:{}".format, st.text(), NUMBERS)
SCHEMES = st.sampled_from(["redis", "rediss", "redis+socket", "sqlite", "amqp", "", "SQLITE", "redis:"])
URLS = st.text() | st.builds(
    "{}://{}{}{}".format, SCHEMES, st.text(), st.sampled_from(["/", ":", "?", "@", "[", "%"]), st.text()
)


@given(st.dictionaries(NAMES, VALUES))
@settings(max_examples=400, deadline=None)
def test_settings_are_right_or_refused(given_: dict[str, object]) -> None:
    with suppress(ConfigurationError):
        found = Settings.from_mapping(given_)
        assert found.engine_lease_seconds >= 1
        assert 0 < found.engine_batch_seconds <= found.engine_lease_seconds / 2
        assert found.engine_max_deliveries >= 1
        assert found.engine_batch_max >= 1
        assert found.engine_settle_seconds > 0
        assert all(weight > 0 for weight in found.engine_queue_weights.values())


@given(st.lists(WORDS))
@settings(max_examples=400, deadline=None)
def test_queues_are_named_or_refused(words: list[str]) -> None:
    with suppress(ConfigurationError):
        names, weights = parse_queues(words, {})
        assert len(names) == len(words)
        assert all(0 < weight < float("inf") for weight in weights.values())
        assert set(weights) <= set(names)
        with_weights(Settings(), weights)


@given(URLS)
@settings(max_examples=400, deadline=None)
def test_a_broker_is_opened_or_refused(url: str) -> None:
    with suppress(ConfigurationError):
        open_broker(url).close()
