"""A task's message as a form: what is the same in all messages of a kind of call, and blanks for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from os import urandom
from typing import Any, Final
from uuid import uuid4

import msgspec

from celeriac.core.message import Message

__all__ = ["BLANKS", "Template", "cut_template", "fresh_id"]

#: What is filled in for each message; each stands in a sample message as a text found nowhere else.
BLANKS: Final = ("id", "root", "parent", "group", "group_index", "argsrepr", "kwargsrepr", "body", "tag")


class Template(msgspec.Struct, frozen=True):
    """Fills in messages that all go to one queue."""

    queue: str
    priority: int
    retry_policy: dict[str, Any] | None
    #: The envelope with ``%b`` at each blank, and what picks their values in that order.
    form: bytes
    pick: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]

    def fill(self, values: tuple[bytes, ...]) -> Message:
        """Return the message with the values, each in JSON, in the order of ``BLANKS``."""
        return Message(queue=self.queue, payload=self.form % self.pick(values), priority=self.priority)


def cut_template(
    sample: bytes,
    blanks: dict[str, str],
    *,
    queue: str,
    priority: int,
    retry_policy: dict[str, Any] | None,
) -> Template:
    """Return the template that the sample message was filled in from.

    ``blanks`` are the texts that stand in the sample for each of ``BLANKS``.
    """
    quoted = {b'"%b"' % blanks[name].encode(): BLANKS.index(name) for name in BLANKS}
    parts = re.split(b"(" + b"|".join(map(re.escape, quoted)) + b")", sample)
    form = b"%b".join(part.replace(b"%", b"%%") for part in parts[::2])
    order = [quoted[part] for part in parts[1::2]]
    return Template(queue, priority, retry_policy, form, itemgetter(*order))


def fresh_id() -> str:
    """Return a random UUID (version 4) as text, as ``str(uuid4())`` in half the time."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_blanks() -> dict[str, str]:
    """Return texts for a sample that no message of anybody holds."""
    return {name: uuid4().hex for name in BLANKS}
