"""What a parcel costs: zones, weight steps, bulk, surcharges. Pure functions in cents and grams."""

import enum
from bisect import bisect_left

__all__ = ["CITIES", "MAX_GRAMS", "Zone", "price_cents", "volumetric_grams", "zone"]

#: The heaviest parcel one person may lift.
MAX_GRAMS = 31_500

#: Every city that is served, by country.
COUNTRIES = {
    "AT": ("Graz", "Linz", "Salzburg", "Wien"),
    "BE": ("Antwerpen", "Bruxelles", "Gent", "Liège"),
    "CH": ("Basel", "Bern", "Genève", "Zürich"),
    "CZ": ("Brno", "Ostrava", "Praha"),
    "DE": ("Berlin", "Frankfurt am Main", "Hamburg", "Köln", "Leipzig", "München", "Nürnberg", "Stuttgart"),
    "DK": ("Aarhus", "København", "Odense"),
    "ES": ("Barcelona", "Bilbao", "Madrid", "Málaga", "Sevilla", "Valencia"),
    "FI": ("Helsinki", "Oulu", "Tampere", "Turku"),
    "FR": ("Bordeaux", "Lille", "Lyon", "Marseille", "Nantes", "Paris", "Strasbourg", "Toulouse"),
    "IE": ("Cork", "Dublin", "Galway"),
    "IT": ("Bologna", "Firenze", "Milano", "Napoli", "Palermo", "Roma", "Torino", "Venezia"),
    "NL": ("Amsterdam", "Eindhoven", "Rotterdam", "Utrecht"),
    "PL": ("Gdańsk", "Kraków", "Poznań", "Warszawa", "Wrocław", "Łódź"),
    "PT": ("Braga", "Lisboa", "Porto"),
    "SE": ("Göteborg", "Malmö", "Stockholm", "Uppsala"),
}
REGIONS = {
    "centre": {"AT", "CH", "CZ", "DE", "PL"},
    "north": {"DK", "FI", "SE"},
    "south": {"ES", "IT", "PT"},
    "west": {"BE", "FR", "IE", "NL"},
}
CITIES = {city: country for country, cities in COUNTRIES.items() for city in cities}


class Zone(enum.IntEnum):
    """How far a parcel goes; the number is its column in the price list."""

    CITY = 0
    COUNTRY = 1
    REGION = 2
    EUROPE = 3


# up to grams  CITY  COUNTRY  REGION  EUROPE
PRICE_LIST = {
    500: (349, 449, 899, 1_149),
    1_000: (399, 499, 999, 1_299),
    2_000: (449, 549, 1_199, 1_549),
    5_000: (549, 699, 1_499, 1_949),
    10_000: (749, 949, 1_999, 2_649),
    20_000: (1_099, 1_399, 2_799, 3_799),
    MAX_GRAMS: (1_499, 1_899, 3_699, 4_999),
}
STEPS = tuple(PRICE_LIST)
#: For each kilogram begun beyond the last step, which only bulky parcels reach.
BULKY_PER_KG = (25, 35, 60, 85)

#: A cubic metre counts as 200 kg: grams = cubic millimetres / 5,000.
CUBIC_MM_PER_GRAM = 5_000
#: Per cent of the price list, by service.
SERVICES = {"economy": 90, "standard": 100, "express": 160}
#: Express costs at least so much more than standard.
EXPRESS_AT_LEAST = 500
#: Insured free of charge; beyond it, one per cent.
INSURED_CENTS = 50_000


def zone(sender_city: str, recipient_city: str) -> Zone:
    """Return the zone between two cities of ``CITIES``."""
    if sender_city == recipient_city:
        return Zone.CITY
    countries = {CITIES[sender_city], CITIES[recipient_city]}
    if len(countries) == 1:
        return Zone.COUNTRY
    return Zone.REGION if any(countries <= region for region in REGIONS.values()) else Zone.EUROPE


def volumetric_grams(length_mm: int, width_mm: int, height_mm: int) -> int:
    """Return the weight that a parcel of this size counts at least."""
    return -(-length_mm * width_mm * height_mm // CUBIC_MM_PER_GRAM)


def price_cents(zone: Zone, grams: int, service: str, declared_value_cents: int) -> int:
    """Return the price of a parcel; ``grams`` is the larger of its real and its volumetric weight."""
    base = _base(zone, grams)
    price = base * SERVICES[service] // 100
    if service == "express":
        price = max(price, base + EXPRESS_AT_LEAST)
    return price + max(0, declared_value_cents - INSURED_CENTS) // 100


def _base(zone: Zone, grams: int) -> int:
    step = bisect_left(STEPS, grams)
    if step < len(STEPS):
        return PRICE_LIST[STEPS[step]][zone]
    kilograms_beyond = -(-(grams - MAX_GRAMS) // 1_000)
    return PRICE_LIST[MAX_GRAMS][zone] + kilograms_beyond * BULKY_PER_KG[zone]
