from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from examples.logistics.orders.parcels import COLUMNS, Parcel, ParcelFile, UnreadableFile, read_parcel
from hypothesis import given
from hypothesis import strategies as st

GOOD = {
    "number": "LG-1",
    "created": "2026-03-01T09:30:00Z",
    "service": "express",
    "sender_city": "København",
    "recipient_city": "Łódź",
    "weight_grams": "1200",
    "length_mm": "300",
    "width_mm": "200",
    "height_mm": "100",
    "declared_value": "249.90",
}


def text_of(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "orders.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, limit: int | None = None) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The rows and numbers of good parcels, and the bad rows."""
    file = ParcelFile(path, limit)
    good = [(row, parcel.number) for row, parcel in file]
    return good, [(bad.row, bad.reason) for bad in file.bad_rows]


def test_a_good_row_becomes_a_parcel() -> None:
    assert read_parcel(GOOD) == Parcel(
        number="LG-1",
        created=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        service="express",
        sender_city="København",
        recipient_city="Łódź",
        weight_grams=1_200,
        length_mm=300,
        width_mm=200,
        height_mm=100,
        declared_value_cents=24_990,
    )


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("number", " ", "number is empty"),
        ("number", "x" * 21, "is longer than 20"),
        ("created", "yesterday", "is not a time like 2026-03-01T09:30:00Z"),
        ("created", "0001-01-01T00:00:00+14:00", "is not a time"),
        ("service", "Express", "unknown service 'Express'"),
        ("sender_city", "Atlantis", "unknown city 'Atlantis'"),
        ("recipient_city", "", "unknown city ''"),
        ("weight_grams", "0", "weight_grams '0' is not a whole number from 1 to 31500"),
        ("weight_grams", "31501", "is not a whole number"),
        ("weight_grams", "-5", "is not a whole number"),
        ("weight_grams", "1.5", "is not a whole number"),
        ("weight_grams", "٣", "is not a whole number"),
        ("weight_grams", "9" * 5_000, "is not a whole number"),
        ("height_mm", "2001", "height_mm '2001' is not a whole number from 1 to 2000"),
        ("declared_value", "-0.01", "is not an amount"),
        ("declared_value", "1.005", "is not an amount"),
        ("declared_value", "NaN", "is not an amount"),
        ("declared_value", "1e999999", "is not an amount"),
        ("declared_value", "much", "is not an amount from 0.00 to 100000.00"),
    ],
)
def test_a_bad_field_is_named(column: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_parcel(GOOD | {column: text})


def test_bad_rows_are_left_out_and_counted_as_in_a_spreadsheet(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"number": "LG-2", "service": "slow"}, GOOD | {"number": "LG-3"}, GOOD]
    good, bad = read(write(tmp_path, text_of(*rows) + "\nLG-4,too short\n"))
    assert good == [(2, "LG-1"), (4, "LG-3")]
    assert bad == [
        (3, "unknown service 'slow'"),
        (5, "number 'LG-1' is that of row 2"),
        (7, "2 fields instead of 10"),
    ]


def test_a_file_may_be_read_again(tmp_path: Path) -> None:
    file = ParcelFile(write(tmp_path, text_of(GOOD, GOOD)))
    assert [[row for row, _ in file] for _ in range(2)] == [[2], [2]]
    assert len(file.bad_rows) == 1


def test_the_limit_counts_good_and_bad_rows(tmp_path: Path) -> None:
    rows = [GOOD, GOOD, GOOD | {"number": "LG-3"}]
    good, bad = read(write(tmp_path, text_of(*rows)), limit=2)
    assert (len(good), len(bad)) == (1, 1)


def test_columns_may_come_in_any_order_with_others_and_a_byte_order_mark(tmp_path: Path) -> None:
    header = ["note", *reversed(COLUMNS)]
    fields = ["fragile", *(GOOD[column] for column in reversed(COLUMNS))]
    text = "\ufeff" + ",".join(header) + "\r\n" + ",".join(fields) + "\r\n"
    assert read(write(tmp_path, text)) == ([(2, "LG-1")], [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "lacks the column 'number': its first line must be number,created,"),
        (b"number;created\n", "lacks the column"),
        (text_of(GOOD).encode("latin-1", "replace").replace(b"?", b"\xf8"), "not in UTF-8 .byte 0xf8"),
        (text_of(GOOD).encode("utf-16"), "not in UTF-8"),
        (text_of(GOOD).encode() + b'LG-2,"open', "is not a CSV file .line 3"),
        (text_of(GOOD).encode() + b"LG-2," + b"x" * 200_000, "is not a CSV file"),
    ],
)
def test_a_useless_file_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason) as refused:
        read(write(tmp_path, content))
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"cannot read .*: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(UnreadableFile, match=r"cannot read .*: Is a directory"):
        read(tmp_path)


@given(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=30)))
def test_any_text_is_a_parcel_or_a_reason(fields: dict[str, str]) -> None:
    try:
        parcel = read_parcel(GOOD | fields)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - that it may also be a parcel is the point
    else:
        assert parcel.created.tzinfo is UTC
        assert parcel.weight_grams > 0


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), text_of(GOOD).encode() + content)
    try:
        good, _ = read(path)
    except UnreadableFile:
        return
    assert good[0] == (2, "LG-1")
