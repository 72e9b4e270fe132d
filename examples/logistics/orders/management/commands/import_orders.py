"""Saves the orders of a CSV file, each in a transaction of its own."""

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import IntegrityError, transaction

from orders.models import LedgerEntry, Order
from orders.parcels import BadRow, Parcel, ParcelFile, UnreadableFile

REPORT_EVERY = 500
Item = TypeVar("Item")


class RolledBack(Exception):
    """Raised inside a transaction to undo it on purpose."""


class Command(BaseCommand):
    help = (
        "Saves the orders of FILE, each in a transaction of its own; every order that is committed asks for "
        "its task. The whole file is checked before the first order is saved. Rows that are not fit to be "
        "an order are listed and left out, and the command then ends with 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="such as data/orders.csv")
        parser.add_argument("--limit", type=positive, metavar="N", help="read at most N rows")
        parser.add_argument(
            "--rollback-every", type=positive, metavar="N", help="undo every Nth order on purpose"
        )
        parser.add_argument("--per-second", type=positive, metavar="N", help="save at most N orders a second")
        parser.add_argument("--resume", action="store_true", help="leave out what was imported before")
        parser.add_argument("--check", action="store_true", help="check the file and save nothing")
        parser.add_argument("--json", action="store_true", help="report as JSON, one object a line")

    def handle(self, *, file: Path, limit: int | None, check: bool, **options: Any) -> None:
        parcels = ParcelFile(file, limit)
        report = Report(self.stdout, as_json=options["json"])
        try:
            report.total = sum(1 for _ in parcels)
        except UnreadableFile as error:
            raise CommandError(str(error), returncode=2) from None
        report.bad_rows = parcels.bad_rows
        if not check:
            every = options["rollback_every"] or report.total + 1
            before = imported_before() if options["resume"] else 0
            numbered = islice(enumerate(parcels, 1), before, None)
            for number, (row, parcel) in paced(numbered, options["per_second"]):
                save(row, parcel, number % every == 0, report)
        report.end()
        if report.bad_rows:
            raise CommandError(f"rows left out: {len(report.bad_rows)}", returncode=1)


class Report:
    """Tells people, or programs, how far the import is."""

    def __init__(self, stream: OutputWrapper, *, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json
        #: Good rows in the file.
        self.total = 0
        self.saved = 0
        self.rolled_back = 0
        self.bad_rows: list[BadRow] = []

    def progress(self) -> None:
        """Say how far it is, every now and then."""
        done = self.saved + self.rolled_back
        if done % REPORT_EVERY == 0 and done < self.total:
            self._say()

    def end(self) -> None:
        """Say what was done, and which rows were left out and why."""
        if self._as_json:
            self._say(bad_rows=[bad._asdict() for bad in self.bad_rows])
            return
        for bad in self.bad_rows:
            self._stream.write(f"row {bad.row}: {bad.reason}")
        self._say()

    def _say(self, **more: object) -> None:
        if self._as_json:
            numbers = {"total": self.total, "saved": self.saved, "rolled_back": self.rolled_back}
            self._stream.write(json.dumps(numbers | more))
        else:
            self._stream.write(f"{self.total} orders: {self.saved} saved, {self.rolled_back} rolled back")
        self._stream.flush()


def save(row: int, parcel: Parcel, undo: bool, report: Report) -> None:
    """The parcel's order is committed; or undone, and the ledger says so; or reported as a bad row."""
    order = Order(**{field: getattr(parcel, field) for field in parcel.__slots__})
    try:
        with transaction.atomic():
            order.save(force_insert=True)
            if undo:
                raise RolledBack
    except RolledBack:
        LedgerEntry.add(order.pk, LedgerEntry.What.ROLLED_BACK)
        report.rolled_back += 1
    except IntegrityError:
        report.bad_rows.append(BadRow(row, f"number {parcel.number!r} was imported before"))
        return
    else:
        report.saved += 1
    report.progress()


def imported_before() -> int:
    """Return how many good rows of the file an import that was killed has come to."""
    return Order.objects.count() + LedgerEntry.objects.filter(what=LedgerEntry.What.ROLLED_BACK).count()


def paced(items: Iterable[Item], per_second: int | None) -> Iterator[Item]:
    """The items, no faster than ``per_second``."""
    began = time.monotonic()
    for count, item in enumerate(items):
        if per_second:
            time.sleep(max(0.0, began + count / per_second - time.monotonic()))
        yield item


def positive(text: str) -> int:
    """The argument as a number of at least 1."""
    if not (text.isdigit() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
