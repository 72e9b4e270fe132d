"""Decodes messages as Celery's protocol wants it and calls the function they name; nothing else.

    python bare_loop.py FILE SECONDS

FILE holds messages as a tape. Prints calls per second with the standard library's decoder and with msgspec's.
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rig.tape import Tape


def rate(messages: Sequence[bytes], decode: Callable[[bytes], Any], seconds: float) -> float:
    """Return calls per second."""
    called = 0

    def noop() -> None:
        nonlocal called
        called += 1

    functions = {"noop": noop}
    start = time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        for message in messages:
            envelope = decode(message)
            arguments, options, _ = decode(b64decode(envelope["body"]))
            functions[envelope["headers"]["task"]](*arguments, **options)
    return called / taken


def main(file: str, seconds: str) -> None:
    messages = Tape.read(Path(file)).pieces
    print(
        json.dumps([rate(messages, decode, float(seconds)) for decode in (json.loads, msgspec.json.decode)])
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
