from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.executor import DONE, Bury, Delay, Job, Outcome, Release
from celeriac.core.layer import Layer, Publish, Run, wrap_publish, wrap_run
from celeriac.core.message import Message

MESSAGE = Message(queue="celery", payload=b"{}")


@dataclass
class ExampleJob:
    id: str = "1"
    name: str = "shop.ship"
    due: float | None = None
    at_most_once: bool = True
    result_ignored: bool = True
    soft_time_limit: float | None = None
    time_limit: float | None = None


class Diary(Layer):
    """Writes down its name on the way in and on the way out."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines

    def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
        self.lines.append(f"{self.name} in")
        proceed(messages)
        self.lines.append(f"{self.name} out")

    def run(self, job: Job, proceed: Run) -> Outcome:
        self.lines.append(f"{self.name} in")
        outcome = proceed(job)
        self.lines.append(f"{self.name} out")
        return outcome


def expected_order(names: Sequence[str], innermost: str) -> list[str]:
    return [f"{name} in" for name in names] + [innermost] + [f"{name} out" for name in reversed(names)]


@given(st.lists(st.sampled_from("abcde"), max_size=6))
def test_the_first_layer_is_the_outermost(names: list[str]) -> None:
    published: list[str] = []
    wrap_publish([Diary(n, published) for n in names], lambda messages: published.append("sent"))([MESSAGE])
    assert published == expected_order(names, "sent")

    ran: list[str] = []

    def body(job: Job) -> Outcome:
        ran.append("ran")
        return DONE

    assert wrap_run([Diary(n, ran) for n in names], body)(ExampleJob()) is DONE
    assert ran == expected_order(names, "ran")


def test_without_layers_the_function_itself_is_called() -> None:
    sent: list[Message] = []
    assert wrap_publish([], sent.extend) == sent.extend

    def body(job: Job) -> Outcome:
        return DONE

    assert wrap_run([], body) is body


def test_a_layer_that_overrides_nothing_changes_nothing() -> None:
    sent: list[Sequence[Message]] = []
    messages = [MESSAGE]
    wrap_publish([Layer(), Layer()], sent.append)(messages)
    assert sent == [messages]
    assert sent[0] is messages

    job = ExampleJob()
    seen: list[Job] = []

    def body(job: Job) -> Outcome:
        seen.append(job)
        return Delay(5.0)

    assert wrap_run([Layer()], body)(job) == Delay(5.0)
    assert seen == [job]


def test_a_layer_may_swallow_messages_and_the_run() -> None:
    class DropEmpty(Layer):
        def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
            if kept := [message for message in messages if message.payload]:
                proceed(kept)

        def run(self, job: Job, proceed: Run) -> Outcome:
            return Release() if job.name == "shop.closed" else proceed(job)

    lines: list[str] = []
    sent: list[Message] = []
    inner = Diary("inner", lines)
    wrap_publish([DropEmpty(), inner], sent.extend)([Message(queue="celery", payload=b"")])
    assert (sent, lines) == ([], [])
    wrap_publish([DropEmpty(), inner], sent.extend)([Message(queue="celery", payload=b""), MESSAGE])
    assert sent == [MESSAGE]

    lines.clear()
    run = wrap_run([DropEmpty(), inner], lambda job: DONE)
    assert run(ExampleJob(name="shop.closed")) == Release()
    assert lines == []
    assert run(ExampleJob()) is DONE


def test_a_layer_may_change_messages_and_outcomes() -> None:
    class Express(Layer):
        def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
            proceed([Message(queue="express", payload=message.payload) for message in messages])

        def run(self, job: Job, proceed: Run) -> Outcome:
            outcome = proceed(job)
            return Bury(outcome.reason.upper()) if isinstance(outcome, Bury) else outcome

    sent: list[Message] = []
    wrap_publish([Express()], sent.extend)([MESSAGE])
    assert sent == [Message(queue="express", payload=b"{}")]
    assert wrap_run([Express()], lambda job: Bury("late"))(ExampleJob()) == Bury("LATE")


def test_an_outer_layer_sees_what_the_inner_one_raises() -> None:
    class Refuse(Layer):
        def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
            raise PermissionError("not signed")

        def run(self, job: Job, proceed: Run) -> Outcome:
            raise PermissionError("not signed")

    class Forgive(Layer):
        def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
            with pytest.raises(PermissionError, match="not signed"):
                proceed(messages)

        def run(self, job: Job, proceed: Run) -> Outcome:
            try:
                return proceed(job)
            except PermissionError as error:
                return Bury(str(error))

    sent: list[Message] = []
    with pytest.raises(PermissionError):
        wrap_publish([Refuse()], sent.extend)([MESSAGE])
    with pytest.raises(PermissionError):
        wrap_run([Refuse()], lambda job: DONE)(ExampleJob())
    wrap_publish([Forgive(), Refuse()], sent.extend)([MESSAGE])
    assert sent == []
    assert wrap_run([Forgive(), Refuse()], lambda job: DONE)(ExampleJob()) == Bury("not signed")


def test_wrapping_twice_gives_two_independent_paths() -> None:
    lines: list[str] = []
    layers = [Diary("a", lines)]
    first: list[Message] = []
    second: list[Message] = []
    paths: list[Callable[[Sequence[Message]], None]] = [
        wrap_publish(layers, first.extend),
        wrap_publish(layers, second.extend),
    ]
    paths[0]([MESSAGE])
    assert (first, second) == ([MESSAGE], [])
    paths[1]([MESSAGE])
    assert (first, second) == ([MESSAGE], [MESSAGE])
