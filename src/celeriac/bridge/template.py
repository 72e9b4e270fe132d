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

__all__ = ["BLANKS", "Ids", "Template", "cut_template", "fresh_id", "new_blanks"]

#: What is filled in for each message; each stands in a sample message as a text found nowhere else.
BLANKS: Final = ("id", "root", "parent", "argsrepr", "kwargsrepr", "body", "tag", "group", "group_index")
#: Those that hold null in the message of a task that is in no group; the last ones of all.
_OF_GROUPS: Final = ("group", "group_index")

_IDS_AT_ONCE: Final = 64
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Form(msgspec.Struct, frozen=True):
    """The envelope with ``%b`` at each blank, and what picks their values in that order."""

    text: bytes
    pick: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


class Template(msgspec.Struct, frozen=True):
    """Fills in messages that all go to one queue."""

    queue: str
    priority: int
    retry_policy: dict[str, Any] | None
    #: For a task of a group, and for one of none.
    grouped: _Form
    lone: _Form

    def fill(self, values: tuple[bytes, ...]) -> Message:
        """Return the message with the values, each in JSON, in the order of ``BLANKS``.

        The last two, which are about its group, may be left out.
        """
        form = self.grouped if len(values) == len(BLANKS) else self.lone
        return Message(queue=self.queue, payload=form.text % form.pick(values), priority=self.priority)


class Ids:
    """Random UUIDs (version 4) as text, made from the system's randomness in blocks.

    For one thread of one process: a child would go on with those of its parent.
    """

    def __init__(self) -> None:
        self._digits = ""
        self._next = 0

    def fresh(self) -> str:
        """Return an id that nobody has."""
        start = self._next
        if start >= len(self._digits):
            self._digits, start = urandom(16 * _IDS_AT_ONCE).hex(), 0
        self._next = start + 32
        return _as_uuid(self._digits[start : start + 32])


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
    grouped = _cut_form(sample, {name: blanks[name] for name in BLANKS})
    for name in _OF_GROUPS:
        sample = sample.replace(b'"%b"' % blanks[name].encode(), b"null")
    lone = _cut_form(sample, {name: blanks[name] for name in BLANKS if name not in _OF_GROUPS})
    return Template(queue, priority, retry_policy, grouped, lone)


def _cut_form(sample: bytes, blanks: dict[str, str]) -> _Form:
    quoted = {b'"%b"' % blanks[name].encode(): BLANKS.index(name) for name in blanks}
    parts = re.split(b"(" + b"|".join(map(re.escape, quoted)) + b")", sample)
    text = b"%b".join(part.replace(b"%", b"%%") for part in parts[::2])
    return _Form(text, itemgetter(*[quoted[part] for part in parts[1::2]]))


def fresh_id() -> str:
    """Return a random UUID (version 4) as text, as ``str(uuid4())`` in half the time."""
    return _as_uuid(urandom(16).hex())


def _as_uuid(digits: str) -> str:
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_blanks() -> dict[str, str]:
    """Return texts for a sample that no message of anybody holds."""
    return {name: uuid4().hex for name in BLANKS}
