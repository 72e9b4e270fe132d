"""Hostile messages, made of real ones by seeded chance."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

__all__ = ["JUNK", "awkward_envelopes", "broken_bytes", "hostile_messages", "zip_bomb"]

#: Values of every type, and those that are at the edge of one.
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**400, -0.5, 1e308, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "x",
        "\x00",
        "\ud800",
        "ä" * 300,
        "-1",
        "1e999",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59-23:59",
    ),
    *([], [[]], [None, None], ["x", "y"], [-1, -1], [float("nan"), None], [10**400, 1], list(range(50))),
    *({}, {"": {}}, {"task": None}, {"task": "tests.apps.ledger.add", "args": 5}, {"x": [{"y": {}}]}),
    {"__type__": "datetime", "__value__": "soon"},
    {"__type__": "uuid", "__value__": {}},
    {"__type__": "no such type", "__value__": 1},
)
HEADERS = (
    *(
        "eta",
        "expires",
        "timelimit",
        "retries",
        "stamps",
        "stamped_headers",
        "group",
        "group_index",
        "root_id",
    ),
    *("parent_id", "id", "task", "lang", "shadow", "argsrepr", "kwargsrepr", "origin", "ignore_result"),
    *("replaced_task_nesting", "compression", "x-anything"),
)
PROPERTIES = (
    "correlation_id",
    "reply_to",
    "delivery_info",
    "priority",
    "body_encoding",
    "delivery_tag",
    "delivery_mode",
)
PACKERS = (
    (zlib.compress, "application/x-gzip"),
    (bz2.compress, "application/x-bz2"),
    (lzma.compress, "application/x-lzma"),
)
CONTENT_TYPES = ("application/x-python-serialize", "text/plain", "application/data", "", "x")
EMBED = ("callbacks", "errbacks", "chain", "chord")


@cache
def zip_bomb(megabytes: int) -> bytes:
    """A few kilobytes that unpack to so much."""
    packer = zlib.compressobj(9)
    packed = [packer.compress(b" " * (1 << 20)) for _ in range(megabytes)]
    return b"".join([*packed, packer.flush()])


def hostile_messages(good: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield so many messages that are wrong in some way, or at least unusual; the same for the same seed."""
    random = Random(seed)
    ways: tuple[Callable[[bytes, Random], bytes], ...] = (broken_bytes, _other_part, _other_part, _other_body)
    for _ in range(count):
        yield random.choice(ways)(good, random)


def broken_bytes(good: bytes, random: Random) -> bytes:
    """The message truncated, or with bytes changed, doubled, left out or put in."""
    changed = bytearray(good)
    if random.random() < 0.3:
        return bytes(changed[: random.randrange(len(changed))])
    for _ in range(random.randint(1, 6)):
        start = random.randrange(len(changed))
        end = min(len(changed), start + random.choice((0, 1, 1, 2, 9)))
        changed[start:end] = random.choice(
            (b"", random.randbytes(1), random.randbytes(4), b'"', b"\\", b"[" * 40)
        )
    return bytes(changed)


def _other_part(good: bytes, random: Random) -> bytes:
    """The message with some headers, properties or envelope fields of other types, or none."""
    envelope = json.loads(good)
    for _ in range(random.choice((1, 1, 2, 4))):
        place, names = random.choice(
            [(envelope["headers"], HEADERS)] * 4
            + [(envelope["properties"], PROPERTIES)] * 2
            + [(envelope, tuple(envelope))]
        )
        if not isinstance(place, dict):
            continue
        name = random.choice(names)
        if random.random() < 0.15:
            place.pop(name, None)
        else:
            place[name] = random.choice(JUNK)
        if not isinstance(envelope.get("headers"), dict) or not isinstance(envelope.get("properties"), dict):
            break
    return json.dumps(envelope).encode()


def _other_body(good: bytes, random: Random) -> bytes:
    """The message with a body of another shape, packing or content type."""
    envelope = json.loads(good)
    body: Any = json.loads(base64.b64decode(envelope["body"]))
    chance = random.random()
    if chance < 0.4:
        body[2][random.choice(EMBED)] = random.choice(JUNK)
    elif chance < 0.7:
        body[random.randrange(3)] = random.choice(JUNK)
    else:
        body = random.choice(JUNK)
    data = json.dumps(body).encode()
    if random.random() < 0.3:
        pack, name = random.choice(PACKERS)
        data = pack(data)
        envelope["headers"]["compression"] = random.choice((name, name, "application/x-nothing", "zlib", 5))
    envelope["body"] = base64.b64encode(data).decode()
    if random.random() < 0.2:
        envelope["content-type"] = random.choice(CONTENT_TYPES)
    if random.random() < 0.1:
        envelope["content-encoding"] = random.choice(("utf-16", "binary", "no such", ""))
    return json.dumps(envelope).encode()


def awkward_envelopes(good: bytes) -> dict[str, bytes]:
    """Messages that are certainly malformed, by what is wrong with them."""
    envelope = json.loads(good)

    def with_body(data: bytes, **headers: Any) -> bytes:
        body = base64.b64encode(data).decode()
        return json.dumps({**envelope, "headers": {**envelope["headers"], **headers}, "body": body}).encode()

    def with_headers(**headers: Any) -> bytes:
        return json.dumps({**envelope, "headers": {**envelope["headers"], **headers}}).encode()

    return {
        "nothing": b"",
        "cut off": good[: len(good) // 2],
        "deeply nested": b'{"headers": ' + b"[" * 100_000,
        "not UTF-8": b'{"headers": {"task": "\xff\xfe"}}',
        "a number": b"1" * 10_000,
        "a body of two": with_body(b"[[], {}]"),
        "a body of numbers": with_body(b"[1, 2, 3]"),
        "keyword arguments in a list": with_body(b"[[1, 2], [3], {}]"),
        "callbacks in a list": with_body(b'[[1, 2], {}, ["x"]]'),
        "a deeply nested body": with_body(b"[" * 100_000),
        "wrong base64": json.dumps({**envelope, "body": "!!!"}).encode(),
        "a zip bomb": with_body(zip_bomb(300), compression="application/x-gzip"),
        "not packed at all": with_body(b"[[1, 2], {}, {}]", compression="application/x-gzip"),
        "unknown packing": with_body(b"[[1, 2], {}, {}]", compression="application/x-nothing"),
        "another serializer": json.dumps({**envelope, "content-type": CONTENT_TYPES[0]}).encode(),
        "no properties": json.dumps({k: v for k, v in envelope.items() if k != "properties"}).encode(),
        "an id that is no text": with_headers(id="\ud800"),
        "a name that is no text": with_headers(task="\udfff"),
        "an eta of words": with_headers(eta="tomorrow"),
        "an eta in a list": with_headers(eta=[1]),
        "a negative time limit": with_headers(timelimit=[-1, None]),
        "a soft time limit that is no number": with_headers(timelimit=[None, float("nan")]),
        "time limits of words": with_headers(timelimit=["x", "y"]),
        "three time limits": with_headers(timelimit=[1, 2, 3]),
        "an endless integer": with_body(b"[[" + b"9" * 5000 + b", 1], {}, {}]"),
    }
