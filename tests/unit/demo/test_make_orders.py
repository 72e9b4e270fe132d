from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from examples.logistics.orders.parcels import ParcelFile

PROJECT = Path(__file__).resolve().parents[3] / "examples" / "logistics"


def test_the_orders_can_be_made_again_byte_for_byte(tmp_path: Path) -> None:
    again = tmp_path / "orders.csv"
    subprocess.run([sys.executable, PROJECT / "make_orders.py", again], check=True)
    assert again.read_bytes() == (PROJECT / "data" / "orders.csv").read_bytes()


def test_every_order_is_good_and_there_are_ten_thousand() -> None:
    file = ParcelFile(PROJECT / "data" / "orders.csv")
    assert sum(1 for _ in file) == 10_000
    assert file.bad_rows == []
