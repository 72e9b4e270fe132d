"""A folder whose files are all written by one command, and can be written again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from celeriac.core.errors import ConfigurationError

__all__ = ["write_folder"]

#: Lists what the folder's files are, so that nobody else's is ever removed.
_LIST = ".celeriac"


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Let the folder hold just these files, in folders below it as their names say.

    Raises :class:`ConfigurationError` if it holds others that no earlier call wrote.
    """
    known = folder / _LIST
    earlier = set(known.read_text().splitlines()) if known.exists() else set()
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {_LIST}
    if others := sorted(present - earlier):
        raise ConfigurationError(f"{folder} holds other files, such as {others[0]}: name an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    known.write_text("".join(f"{name}\n" for name in sorted(earlier | set(texts))))
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in earlier - set(texts):
        (folder / name).unlink(missing_ok=True)
    known.write_text("".join(f"{name}\n" for name in sorted(texts)))
