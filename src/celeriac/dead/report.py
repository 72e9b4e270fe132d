"""How dead letters are told: lines for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from celeriac.bridge.letters import Body
from celeriac.dead.selection import Found

__all__ = ["as_json", "details", "print_details", "print_table", "summary"]

_HEADINGS = ("ID", "DIED", "QUEUE", "TASK", "TASK ID", "TRIES", "REASON")


def summary(found: Found) -> dict[str, Any]:
    """Return what a list says of a letter; times are ISO 8601 in UTC."""
    letter, told = found.letter, found.told
    return {
        "id": letter.id,
        "task": told.task,
        "task_id": told.task_id,
        "queue": letter.message.queue,
        "priority": letter.message.priority,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "died_at": datetime.fromtimestamp(letter.died_at, UTC).isoformat(),
        "bytes": len(letter.message.payload),
    }


def details(found: Found, body: Body | None) -> dict[str, Any]:
    """Return everything about a letter; arguments as their producer chose to show them, unless ``body``."""
    told = found.told
    shown = {"args": told.args, "kwargs": told.kwargs, "headers": told.headers}
    return summary(found) | shown | ({} if body is None else {"body": msgspec.structs.asdict(body)})


def as_json(value: Any) -> str:
    """Return the value on one line."""
    return msgspec.json.encode(value).decode()


def print_table(console: Console, found: Sequence[Found]) -> None:
    """Print a line for each letter; nothing is cut, so that what is shown can be copied."""
    rows = [_HEADINGS, *(_row(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(Text(line, style="" if number else "bold"), soft_wrap=True)


def _row(found: Found) -> tuple[str, ...]:
    letter, told = found.letter, found.told
    cells = (letter.id, _local(letter.died_at), letter.message.queue, told.task, told.task_id)
    return tuple(_plain(cell or "-") for cell in (*cells, str(letter.deliveries), letter.reason))


def print_details(console: Console, found: Found, body: Body | None) -> None:
    """Print everything about a letter, a line for each fact."""
    facts = details(found, body)
    facts["died_at"] = _local(found.letter.died_at)
    headers, contents = facts.pop("headers"), facts.pop("body", None)
    _print_facts(console, facts)
    if headers:
        console.print("headers", style="bold")
        _print_facts(console, headers, indent=2)
    if contents is not None:
        console.print("body", style="bold")
        _print_facts(console, contents, indent=2)


def _print_facts(console: Console, facts: dict[str, Any], indent: int = 0) -> None:
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        shown = value if isinstance(value, str) else "-" if value is None else as_json(value)
        line = Text.assemble((f"{' ' * indent}{name:<{width}}", "dim"), _plain(shown))
        console.print(line, soft_wrap=True)


def _plain(text: str) -> str:
    """What a message says may hold a terminal's control characters; they are shown, not obeyed."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
