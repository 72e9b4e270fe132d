"""Reads parcels from a CSV file: good rows become parcels, bad ones are named with a reason."""

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from .tariff import CITIES, MAX_GRAMS, SERVICES

__all__ = ["COLUMNS", "BadRow", "Parcel", "ParcelFile", "UnreadableFile"]

#: What the header must name, in any order.
COLUMNS = (
    "number",
    "created",
    "service",
    "sender_city",
    "recipient_city",
    "weight_grams",
    "length_mm",
    "width_mm",
    "height_mm",
    "declared_value",
)
#: Columns as wide as the database's.
MAX_NUMBER_LENGTH = 20
MAX_SIDE_MM = 2_000
MAX_VALUE_CENTS = 10_000_000


class UnreadableFile(Exception):
    """The file as a whole cannot be read; the text is one line that says what to do."""


class BadRow(NamedTuple):
    """A row that was left out. Rows count as in a spreadsheet: the header is row 1."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One row that is fit to become an order; lengths in millimetres, money in cents."""

    number: str
    created: datetime
    service: str
    sender_city: str
    recipient_city: str
    weight_grams: int
    length_mm: int
    width_mm: int
    height_mm: int
    declared_value_cents: int


class ParcelFile:
    """The parcels of one file, read as they are asked for.

    Iterating gives ``(row, parcel)`` of each good row and leaves the others in ``bad_rows``. Raises
    :class:`UnreadableFile` when the file, its header or its encoding is of no use.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        #: Rows to read at most, good and bad.
        self.limit = limit
        self.bad_rows: list[BadRow] = []

    def __iter__(self) -> Iterator[tuple[int, Parcel]]:
        self.bad_rows = []
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.reader(file, strict=True)
                header = self._header(next(rows, []))
                numbered = enumerate(rows, start=2)
                yield from self._parcels(header, islice(numbered, self.limit))
        except OSError as error:
            raise UnreadableFile(f"cannot read {self.path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise UnreadableFile(
                f"{self.path} is not in UTF-8 (byte {error.object[error.start]:#04x}): save it as UTF-8"
            ) from None
        except csv.Error as error:
            raise UnreadableFile(f"{self.path} is not a CSV file (line {rows.line_num}): {error}") from None

    def _header(self, header: list[str]) -> list[str]:
        if missing := [column for column in COLUMNS if column not in header]:
            raise UnreadableFile(
                f"{self.path} lacks the column {missing[0]!r}: its first line must be {','.join(COLUMNS)}"
            )
        return header

    def _parcels(
        self, header: list[str], numbered: Iterator[tuple[int, list[str]]]
    ) -> Iterator[tuple[int, Parcel]]:
        first_seen: dict[str, int] = {}
        for row, fields in numbered:
            if not fields:  # a blank line, as many programs leave one at the end
                continue
            try:
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} fields instead of {len(header)}")
                parcel = read_parcel(dict(zip(header, fields, strict=True)))
                if (first := first_seen.setdefault(parcel.number, row)) != row:
                    raise ValueError(f"number {parcel.number!r} is that of row {first}")
            except ValueError as error:
                self.bad_rows.append(BadRow(row, str(error)))
            else:
                yield row, parcel


def read_parcel(fields: dict[str, str]) -> Parcel:
    """Return the parcel; raise ``ValueError`` with the first thing that is wrong with it."""
    return Parcel(
        number=_number(fields["number"]),
        created=_moment(fields["created"]),
        service=_one_of(SERVICES, fields["service"], "service"),
        sender_city=_one_of(CITIES, fields["sender_city"], "city"),
        recipient_city=_one_of(CITIES, fields["recipient_city"], "city"),
        weight_grams=_whole(fields, "weight_grams", MAX_GRAMS),
        length_mm=_whole(fields, "length_mm", MAX_SIDE_MM),
        width_mm=_whole(fields, "width_mm", MAX_SIDE_MM),
        height_mm=_whole(fields, "height_mm", MAX_SIDE_MM),
        declared_value_cents=_cents(fields["declared_value"]),
    )


def _number(text: str) -> str:
    if not text.strip():
        raise ValueError("number is empty")
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"number {text[:MAX_NUMBER_LENGTH]!r}... is longer than {MAX_NUMBER_LENGTH}")
    return text


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"created {text!r} is not a time like 2026-03-01T09:30:00Z") from None


def _one_of(known: Collection[str], text: str, what: str) -> str:
    if text not in known:
        raise ValueError(f"unknown {what} {text!r}")
    return text


def _whole(fields: dict[str, str], column: str, at_most: int) -> int:
    text = fields[column]
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= at_most):
        raise ValueError(f"{column} {text!r} is not a whole number from 1 to {at_most}")
    return int(text)


def _cents(text: str) -> int:
    try:
        cents = Decimal(text) * 100
    except ArithmeticError:
        cents = Decimal(-1)
    if not (cents.is_finite() and 0 <= cents <= MAX_VALUE_CENTS and cents == int(cents)):
        raise ValueError(f"declared_value {text!r} is not an amount from 0.00 to {MAX_VALUE_CENTS / 100:.2f}")
    return int(cents)
