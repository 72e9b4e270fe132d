from __future__ import annotations

import pytest
from examples.logistics.orders.tariff import (
    CITIES,
    MAX_GRAMS,
    PRICE_LIST,
    SERVICES,
    Zone,
    price_cents,
    volumetric_grams,
    zone,
)
from hypothesis import given
from hypothesis import strategies as st

cities = st.sampled_from(sorted(CITIES))
zones = st.sampled_from(Zone)
services = st.sampled_from(sorted(SERVICES))
grams = st.integers(1, 2 * MAX_GRAMS)
values = st.integers(0, 10_000_000)


@pytest.mark.parametrize(
    ("sender", "recipient", "expected"),
    [
        ("Berlin", "Berlin", Zone.CITY),
        ("Berlin", "Köln", Zone.COUNTRY),
        ("Berlin", "Wien", Zone.REGION),
        ("Berlin", "Paris", Zone.EUROPE),
        ("Helsinki", "Lisboa", Zone.EUROPE),
    ],
)
def test_zones(sender: str, recipient: str, expected: Zone) -> None:
    assert zone(sender, recipient) is expected


@pytest.mark.parametrize(
    ("zone", "grams", "service", "value", "cents"),
    [
        (Zone.COUNTRY, 500, "standard", 0, 449),
        (Zone.COUNTRY, 501, "standard", 0, 499),
        (Zone.EUROPE, MAX_GRAMS, "standard", 0, 4_999),
        (Zone.EUROPE, MAX_GRAMS + 1, "standard", 0, 4_999 + 85),
        (Zone.EUROPE, MAX_GRAMS + 1_001, "standard", 0, 4_999 + 2 * 85),
        (Zone.COUNTRY, 500, "economy", 0, 404),
        (Zone.COUNTRY, 500, "express", 0, 949),
        (Zone.EUROPE, 10_000, "express", 0, 4_238),
        (Zone.CITY, 1, "standard", 50_000, 349),
        (Zone.CITY, 1, "standard", 60_000, 449),
    ],
)
def test_prices(zone: Zone, grams: int, service: str, value: int, cents: int) -> None:
    assert price_cents(zone, grams, service, value) == cents


def test_bulk_counts_as_weight_and_is_rounded_up() -> None:
    assert volumetric_grams(1_000, 1_000, 1_000) == 200_000
    assert volumetric_grams(1, 1, 1) == 1


@given(cities, cities)
def test_the_way_back_is_as_far(one: str, other: str) -> None:
    assert zone(one, other) is zone(other, one)


@given(zones, grams, grams, services, values)
def test_a_heavier_parcel_is_never_cheaper(
    zone: Zone, one: int, other: int, service: str, value: int
) -> None:
    light, heavy = sorted((one, other))
    assert 0 < price_cents(zone, light, service, value) <= price_cents(zone, heavy, service, value)


@given(grams, services, values)
def test_farther_is_never_cheaper(grams: int, service: str, value: int) -> None:
    prices = [price_cents(zone, grams, service, value) for zone in Zone]
    assert prices == sorted(prices)


@given(zones, grams, values)
def test_faster_is_dearer(zone: Zone, grams: int, value: int) -> None:
    economy, standard, express = (price_cents(zone, grams, s, value) for s in SERVICES)
    assert economy < standard <= express - 500


def test_the_price_list_rises_in_both_directions() -> None:
    steps = list(PRICE_LIST)
    assert steps == sorted(steps)
    for column in range(len(Zone)):
        prices = [PRICE_LIST[step][column] for step in steps]
        assert prices == sorted(set(prices))
