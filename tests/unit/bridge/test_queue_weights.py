from __future__ import annotations

import pytest

from celeriac.bridge.queue_weights import parse_queues, with_weights
from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import Settings


@pytest.mark.parametrize(
    ("words", "names", "weights"),
    [
        ([], [], {}),
        (["a", "b"], ["a", "b"], {}),
        (["a:3", "b:0.5", "c"], ["a", "b", "c"], {"a": 3, "b": 0.5}),
        (["tenant:a"], ["tenant:a"], {}),
        (["tenant:7"], ["tenant"], {"tenant": 7}),
        (["tenant:7:2"], ["tenant:7"], {"tenant:7": 2}),
        (["known:7"], ["known:7"], {}),
        (["known:7:2"], ["known:7"], {"known:7": 2}),
        ([":3"], [":3"], {}),
    ],
)
def test_a_number_after_the_last_colon_is_a_weight(
    words: list[str], names: list[str], weights: dict[str, float]
) -> None:
    assert parse_queues(words, {"known:7"}) == (names, weights)


@pytest.mark.parametrize("word", ["a:0", "a:-1", "a:nan", "a:inf"])
def test_a_weight_is_above_zero(word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"-Q {word}: a weight is a number above zero"):
        parse_queues([word], set())


def test_weights_of_the_command_line_win() -> None:
    assert with_weights(Settings(), {}) == Settings()
    settings = Settings(engine_queue_order="weighted", engine_queue_weights={"a": 2, "b": 2})
    weighted = with_weights(settings, {"b": 5})
    assert (weighted.engine_queue_order, weighted.engine_queue_weights) == ("weighted", {"a": 2, "b": 5})
    assert with_weights(Settings(engine_queue_order="ordered"), {"a": 2}).engine_queue_order == "weighted"
