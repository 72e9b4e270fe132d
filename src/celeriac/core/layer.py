"""Behaviour that wraps publishing or running, as a list one can read from the outside in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from celeriac.core.executor import Job, Outcome
from celeriac.core.message import Message

__all__ = ["Layer", "Publish", "Run", "wrap_publish", "wrap_run"]

Publish = Callable[[Sequence[Message]], None]
Run = Callable[[Job], Outcome]


class Layer:
    """Does nothing around either path; override the one to wrap and call ``proceed`` once."""

    def publish(self, messages: Sequence[Message], proceed: Publish) -> None:
        """Publish the messages, or changed ones, by calling ``proceed``."""
        proceed(messages)

    def run(self, job: Job, proceed: Run) -> Outcome:
        """Run the job by calling ``proceed``, and return what became of it."""
        return proceed(job)


def wrap_publish(layers: Sequence[Layer], publish: Publish) -> Publish:
    """Return ``publish`` inside all layers; the first layer is the outermost."""
    for layer in reversed(layers):
        publish = partial(layer.publish, proceed=publish)
    return publish


def wrap_run(layers: Sequence[Layer], run: Run) -> Run:
    """Return ``run`` inside all layers; the first layer is the outermost."""
    for layer in reversed(layers):
        run = partial(layer.run, proceed=run)
    return run
