"""The body of a task's message in JSON, as kombu writes it."""

from __future__ import annotations

import json
from typing import Any, Final

from kombu.utils.json import JSONEncoder

__all__ = ["encode_body"]

_codec: Final = JSONEncoder()
_json: Final[Any] = json.encoder
#: What ``json.dumps`` makes anew for each call; without a look for circles, which end in RecursionError.
_write: Final[Any] = _json.c_make_encoder and _json.c_make_encoder(
    None, _codec.default, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True
)
_NOTHING_EMBEDDED: Final = ', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def encode_body(args: Any, kwargs: Any, embed: dict[str, Any] | None) -> bytes:
    """Return what kombu's ``dumps`` writes; ``embed`` is None if nothing is embedded.

    Raises TypeError, ValueError, OverflowError or RecursionError for what is no JSON.
    """
    if embed is not None:
        return _codec.encode((args, kwargs, embed)).encode()
    pair = (args, kwargs)
    text: str = "".join(_write(pair, 0)) if _write else _codec.encode(pair)
    return (text[:-1] + _NOTHING_EMBEDDED).encode()
