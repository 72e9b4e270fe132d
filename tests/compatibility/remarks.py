"""What docs/compatibility.toml says of the things that no test shows, or that are not as in Celery."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ["Remark", "Remarks", "read_remarks"]

#: What may be said of a thing, with how the page puts it.
STANDINGS = {
    "differs": "differs",
    "stock": "Celery's stock worker takes over",
    "untouched": "Celery's own code",
    "unused": "no meaning here",
}


@dataclass(frozen=True)
class Remark:
    """Why a thing, or all whose names match a pattern, is not shown, or not as in Celery."""

    standing: str
    kind: str
    pattern: str
    reason: str

    def covers(self, kind: str, name: str) -> bool:
        return kind == self.kind and fnmatchcase(name, self.pattern)

    @property
    def is_pattern(self) -> bool:
        return "*" in self.pattern


@dataclass(frozen=True)
class Remarks:
    #: The version of Celery that they speak of.
    celery: str
    all: list[Remark]
    #: Of the kinds of which Celery keeps no list, what the page must account for.
    expected: Mapping[str, list[str]]
    #: By version of Celery or Python: what was run with it, and what came of it.
    versions: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, name: str) -> list[Remark]:
        """What is said of this thing."""
        return [remark for remark in self.all if remark.covers(kind, name)]


def read_remarks(path: Path) -> Remarks:
    """Return what the file says; KeyError if it has a part that nobody reads."""
    content = tomllib.loads(path.read_text())
    celery, expected = content.pop("celery"), content.pop("expected", {})
    versions = content.pop("versions", {})
    unknown = content.keys() - STANDINGS.keys()
    if unknown:
        raise KeyError(f"{path.name}: {sorted(unknown)} is none of {sorted(STANDINGS)}")
    remarks = [
        Remark(standing, kind, pattern, reason)
        for standing, kinds in content.items()
        for kind, patterns in kinds.items()
        for pattern, reason in patterns.items()
    ]
    return Remarks(celery, remarks, expected, versions)
