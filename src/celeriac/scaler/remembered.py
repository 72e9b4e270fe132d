"""The file in which what has been learnt of each pool outlives the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from celeriac.core.errors import ConfigurationError

__all__ = ["PoolMemory", "read_memories", "write_memories"]

logger = logging.getLogger("celeriac.scaler")

_FORM = 1


class PoolMemory(msgspec.Struct, array_like=True):
    """What is known of one pool."""

    brain: bytes
    at: float  #: Unix seconds of the last decision
    level: float  #: tasks a tick that came unannounced in the last minutes


class _File(msgspec.Struct, array_like=True):
    form: int
    pools: dict[str, PoolMemory]


def read_memories(path: Path) -> dict[str, PoolMemory]:
    """Return what is known of each pool; nothing, with a word in the log, if the file cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        _check_folder(path)
        return {}
    except OSError as error:
        raise ConfigurationError(f"--state {path} cannot be read: {error.strerror or error}") from None
    try:
        found = msgspec.msgpack.decode(content, type=_File)
    except msgspec.DecodeError as error:
        logger.warning("%s is not a file of this version (%s): all pools are learnt anew", path, error)
        return {}
    return found.pools if found.form == _FORM else {}


def write_memories(path: Path, pools: Mapping[str, PoolMemory]) -> None:
    """Replace the file as a whole; a failure is logged, as the next time will do as well."""
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_bytes(msgspec.msgpack.encode(_File(_FORM, dict(pools))))
        beside.replace(path)
    except OSError as error:
        logger.warning("What was learnt cannot be kept in %s: %s", path, error.strerror or error)


def _check_folder(path: Path) -> None:
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"--state {path}: the folder {path.parent} is not there, or not writable")
