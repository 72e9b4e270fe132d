"""What a Markdown document promises: its code blocks, its links, its headings, its tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Block", "Document"]

_FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<inline>[^)\s]+)[^)]*\)|^\[[^\]]+\]:\s+(?P<reference>\S+)")
_PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<file>[^)\s]+)\)")
_HEADING = re.compile(r"^(?P<level>#{1,6})\s+(?P<text>.+?)\s*#*$")


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    info: str
    text: str
    #: The line of its first line of code.
    line: int

    @property
    def language(self) -> str:
        return (self.info.split() or [""])[0]

    @property
    def flags(self) -> list[str]:
        return self.info.split()[1:]


@dataclass(frozen=True)
class Document:
    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Document:
        return cls(path, path.read_text())

    @cached_property
    def _parsed(self) -> tuple[list[Block], list[tuple[int, str]]]:
        """The code blocks, and the lines outside of them with their numbers."""
        blocks: list[Block] = []
        prose: list[tuple[int, str]] = []
        opened: re.Match[str] | None = None
        code: list[str] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            fence = _FENCE.match(line)
            if opened is None:
                if fence:
                    opened, code = fence, []
                else:
                    prose.append((number, line))
            elif fence and fence["fence"].startswith(opened["fence"]) and not fence["info"].strip():
                text = "\n".join(code) + "\n"
                blocks.append(Block(opened["info"].strip(), text, number - len(code)))
                opened = None
            else:
                code.append(line.removeprefix(opened["indent"]))
        if opened is not None:
            raise ValueError(f"{self.path}: a code block is never closed")
        return blocks, prose

    @property
    def blocks(self) -> list[Block]:
        return self._parsed[0]

    @property
    def links(self) -> Iterator[tuple[int, str]]:
        """``(line, target)`` of every link outside code."""
        for number, line in self._parsed[1]:
            for match in _LINK.finditer(re.sub(r"`[^`]*`", "", line)):
                yield number, match["inline"] or match["reference"]

    @property
    def pictures(self) -> Iterator[tuple[int, str, str]]:
        """``(line, text, file)`` of every picture outside code."""
        for number, line in self._parsed[1]:
            for match in _PICTURE.finditer(re.sub(r"`[^`]*`", "", line)):
                yield number, match["text"], match["file"]

    @property
    def headings(self) -> list[tuple[int, int, str]]:
        """``(line, level, text)`` of every heading."""
        matches = [(number, _HEADING.match(line)) for number, line in self._parsed[1]]
        return [(number, len(match["level"]), match["text"]) for number, match in matches if match]

    @property
    def sections(self) -> list[tuple[int, int, str, str]]:
        """``(line, level, text, prose)`` of every heading and what stands between it and the next one."""
        ends = [*(line for line, _, _ in self.headings), sys.maxsize][1:]
        return [
            (line, level, text, "\n".join(prose for number, prose in self._parsed[1] if line < number < end))
            for (line, level, text), end in zip(self.headings, ends, strict=True)
        ]

    @property
    def anchors(self) -> set[str]:
        """The fragments that links may name, as the usual renderers make them from headings."""
        found: dict[str, int] = {}
        anchors = set()
        for _, _, text in self.headings:
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = found.get(slug, 0)
            anchors.add(f"{slug}-{count}" if count else slug)
            found[slug] = count + 1
        return anchors

    @property
    def rows(self) -> list[list[str]]:
        """The cells of all table rows whose first cell is code."""
        cells = [[cell.strip() for cell in line.strip("| ").split("|")] for _, line in self._parsed[1]]
        return [row for row in cells if re.fullmatch(r"`[^`]+`", row[0])]
