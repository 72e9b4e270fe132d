"""The import of the orders file, as a process of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from celeriac.core.errors import ConfigurationError
from celeriac.demo.processes import BackgroundProcess
from celeriac.demo.project import Site

__all__ = ["ROLLBACK_EVERY", "BadRow", "ImportReport", "OrdersImport"]

#: One order in so many is undone on purpose.
ROLLBACK_EVERY = 20


class BadRow(msgspec.Struct, frozen=True):
    """A row that was left out; the header is row 1."""

    row: int
    reason: str


class ImportReport(msgspec.Struct, frozen=True):
    """The last line that the import prints."""

    #: Good rows.
    total: int
    saved: int
    rolled_back: int
    bad_rows: list[BadRow]

    @property
    def expected(self) -> int:
        """Orders that are committed when the import has ended."""
        return self.total - self.total // ROLLBACK_EVERY


class OrdersImport(BackgroundProcess):
    """Runs the project's ``import_orders``."""

    def __init__(self, site: Site, name: str, file: Path, limit: int | None, *options: str) -> None:
        if limit is not None:
            options = ("--limit", str(limit), *options)
        command = site.manage("import_orders", str(file), "--json", *options)
        super().__init__(site, name, command)

    def report(self) -> ImportReport:
        """Return what it did, once it has ended; bad rows are no failure.

        Raises :class:`ConfigurationError` when the file is of no use, ``ProcessFailed`` for any
        other end.
        """
        lines = self.output()
        if self.exit_code == 2 and lines:
            raise ConfigurationError(lines[-1].removeprefix("CommandError: "))
        reports = [line for line in lines if line.startswith("{")]
        if self.exit_code not in (0, 1) or not reports:
            raise self.failure()
        try:
            return msgspec.json.decode(reports[-1], type=ImportReport)
        except msgspec.DecodeError:
            raise self.failure() from None
