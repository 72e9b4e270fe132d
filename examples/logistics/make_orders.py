#!/usr/bin/env python
"""Writes data/orders.csv: 10,000 plausible orders, the same bytes every time.

python make_orders.py [FILE]
"""

import csv
import random
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from orders.parcels import COLUMNS
from orders.tariff import CITIES

SEED = 20_260_105
ORDERS = 10_000
FIRST = datetime(2026, 1, 5, 8, tzinfo=UTC)

# Cities and services as often as they are listed here.
SERVICES = ("standard",) * 13 + ("express",) * 4 + ("economy",) * 3
BOXES_MM = (
    (220, 160, 30),
    (250, 175, 100),
    (350, 250, 100),
    (375, 300, 135),
    (600, 300, 150),
    (1_200, 600, 600),
)

T = TypeVar("T")


class Dice:
    """Draws from ``random()`` alone, the one method whose sequence Python promises never to change."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, limit: int) -> int:
        return int(self._random() * limit)

    def one_of(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]

    def small_of(self, limit: int) -> int:
        """1 to ``limit``, small ones far more often."""
        share = self._random()
        return 1 + int(share * share * share * limit)


def orders(count: int = ORDERS) -> Iterator[dict[str, object]]:
    """The rows of the file, without its header."""
    dice = Dice(SEED)
    cities = sorted(CITIES)
    moment = FIRST
    for number in range(1, count + 1):
        moment += timedelta(seconds=1 + dice.below(90))
        sender = dice.one_of(cities)
        recipient = dice.one_of(cities)
        if dice.below(3) == 0:
            recipient = dice.one_of([city for city in cities if CITIES[city] == CITIES[sender]])
        size = dice.small_of(len(BOXES_MM)) - 1
        length, width, height = BOXES_MM[size]
        weight = 40 + dice.small_of(31_000 * (size + 1) // len(BOXES_MM))
        value = 500 + dice.small_of(150_000)
        yield {
            "number": f"LG-{number:06d}",
            "created": moment.isoformat().replace("+00:00", "Z"),
            "service": dice.one_of(SERVICES),
            "sender_city": sender,
            "recipient_city": recipient,
            "weight_grams": weight,
            "length_mm": length,
            "width_mm": width,
            "height_mm": height,
            "declared_value": f"{value // 100}.{value % 100:02d}",
        }


def write(path: Path) -> None:
    """The file holds the header and all orders, whatever it held before."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(orders())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("data") / "orders.csv")
