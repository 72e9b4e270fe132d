"""The judge refuses what grows and lets pass what does not; the ledger's balance; and a short real run."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from tests.servers import RedisServer
from tests.soak.books import Kill, balance
from tests.soak.picture import draw
from tests.soak.soak import Settings, Soak
from tests.soak.trend import Point, by_life, by_minute, judge, slope, warm_up
from tests.workers import Ledger

HALF_AN_HOUR = 1800.0
#: The quantities of what a process holds, and what of it grows by the hour: one id of 85 bytes for each task.
LEAK = 20_000 * 150 / 1024


def series(
    by_the_hour: float = 0.0, *, base: float = 50_000, noise: float = 0.0, seed: int = 1
) -> list[Point]:
    """Half an hour that begins with a steep warm-up."""
    random = Random(seed)
    points = []
    for at in range(0, int(HALF_AN_HOUR) + 1, 5):
        warm = min(1.0, at / 200)
        points.append((float(at), base * warm + by_the_hour * at / 3600 + random.uniform(-noise, noise)))
    return points


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_one_id_a_task_is_refused_and_noise_is_not(seed: int) -> None:
    noise = 500.0
    flat = judge("shard", "memory", series(noise=noise, seed=seed), HALF_AN_HOUR)
    leaking = judge("shard", "memory", series(LEAK, noise=noise, seed=seed), HALF_AN_HOUR)
    assert flat is not None
    assert leaking is not None
    assert flat.flat is True
    assert leaking.flat is False
    assert leaking.growth == pytest.approx(LEAK, rel=0.2)


@pytest.mark.parametrize(("kept_by_its_parent", "flat"), [(0.0, True), (LEAK, False)])
def test_processes_that_come_and_go_are_no_leak_unless_each_is_larger(
    kept_by_its_parent: float, flat: bool
) -> None:
    began = [float(at) for at in range(0, int(HALF_AN_HOUR), 60)]
    sawtooth = [(at, value + at % 60 * 100) for at, value in series(kept_by_its_parent)]
    found = judge("shard that is killed", "memory", by_life(sawtooth, began), HALF_AN_HOUR)
    assert found is not None
    assert found.flat is flat


@pytest.mark.parametrize(("quantity", "kept"), [("descriptors", 0.1), ("threads", 0.1)])
def test_one_descriptor_or_thread_kept_at_every_tenth_death_is_refused(quantity: str, kept: float) -> None:
    deaths = [(at, 20.0 + (at // 60) * kept * 2) for at, _ in series()]
    level = [(at, 20.0 + (at % 35 == 0) * 4) for at, _ in series()]
    found = [judge("supervisor", quantity, points, HALF_AN_HOUR) for points in (deaths, level)]
    assert [finding.flat for finding in found if finding is not None] == [False, True]


def test_what_grows_only_while_it_warms_up_is_flat() -> None:
    points = series()
    assert slope(points[:60]) > 0
    found = judge("shard", "memory", points, HALF_AN_HOUR)
    assert found is not None
    assert (found.growth, found.flat) == (0, True)


def test_a_short_run_judges_nothing() -> None:
    assert judge("shard", "memory", [(0.0, 1.0), (1.0, 2.0)], 2.0) is None
    found = judge("shard", "memory", [(float(at), 100.0 * at) for at in range(60)], 60.0)
    assert found is not None
    assert found.flat is None


def test_each_minute_has_its_median() -> None:
    assert by_minute([(0.0, 1), (20.0, 9), (59.0, 2), (61.0, 5)]) == [2, 5]
    assert warm_up(HALF_AN_HOUR) < warm_up(2 * HALF_AN_HOUR) + 1 < HALF_AN_HOUR / 2


def test_the_picture_has_a_line_for_each_part() -> None:
    measured = {("shard", "memory"): series(), ("all", "memory"): series(), ("a <b>", "threads"): series()}
    picture = ElementTree.fromstring(draw(measured))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(measured)
    words = {text.text for text in picture.findall("{http://www.w3.org/2000/svg}text")}
    assert {"memory, MiB", "threads", "shard", "a <b>", "30 min"} <= words


# -- The ledger


class Book:
    """A ledger written by hand, a row a second."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self._at = 0.0
        Ledger(self.path)

    def note(self, key: str, *whats: str, pid: int = 1) -> None:
        with sqlite3.connect(self.path) as ledger:
            for what in whats:
                self._at += 1
                ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, pid, self._at))
        ledger.close()


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_equal_books_have_an_end_for_everything(book: Book) -> None:
    book.note("nothing 1", "accepted", "started", "done")
    book.note("revoked 2", "accepted", "revoked")
    book.note("nothing 3", "accepted", "started")
    book.note("acked_late 4", "accepted", "started")
    book.note("acked_late 4", "started", "done", pid=2)
    letters = {"nothing 3": "its worker process died while it ran, and it must not start twice"}
    books = balance(book.path, [Kill(1, 9.0)], letters)
    assert books.broken == []
    assert (books.accepted, books.done, books.revoked, books.dead, books.repeated) == (4, 2, 1, 1, 1)


def test_what_has_no_end_is_lost(book: Book) -> None:
    book.note("nothing 1", "accepted", "started")
    book.note("nothing 2", "accepted")
    assert balance(book.path, [Kill(1, 9.0)], {}).lost == ["nothing 1", "nothing 2"]


@pytest.mark.parametrize(("key", "killed"), [("acked_late 1", 3), ("nothing 1", 1), ("unique 1", 1)])
def test_a_repeat_that_no_kill_explains_is_beyond_the_contract(book: Book, key: str, killed: int) -> None:
    book.note(key, "accepted", "started")
    book.note(key, "started", "done", pid=2)
    assert len(balance(book.path, [Kill(killed, 2.0)], {}).beyond) == 1


def test_what_a_repeated_task_publishes_may_come_again(book: Book) -> None:
    book.note("chained 1-first", "accepted", "started", "done", pid=7)
    book.note("chained 1-second", "accepted", "started", "done")
    book.note("chained 1-first", "started", "done", pid=2)
    book.note("chained 1-second", "started", "done")
    assert balance(book.path, [Kill(7, 3.0)], {}).broken == []
    book.note("chorded 2-0", "started", "done", pid=2)
    book.note("chorded 2-body", "started", "started", "done")
    assert balance(book.path, [Kill(7, 3.0)], {}).beyond == ["chorded 2-body, started 2 times, 0 explained"]


def test_a_dead_letter_needs_a_kill(book: Book) -> None:
    book.note("nothing 1", "accepted", "started")
    for reason, killed in (("must not start twice", 3), ("its bytes are torn", 1)):
        assert balance(book.path, [Kill(killed, 2.0)], {"nothing 1": reason}).wrong
    assert balance(book.path, [Kill(1, 2.0)], {"nobody 1": "must not start twice"}).wrong


def test_what_the_producer_saw_and_limits_and_revocations_are_judged(book: Book) -> None:
    book.note("waited_for 1", "accepted", "started", "done", "wrong: no result")
    book.note("revoked 2", "accepted", "started", "done")
    for number in range(3):
        book.note(f"limited {number}", "accepted", "started")
    for number in range(3):
        book.note(f"limited {number}", "done")
    assert len(balance(book.path, [], {}).wrong) == 3


# -- A short run


def test_a_short_run_measures_everything_and_its_books_are_equal(tmp_path: Path, redis: RedisServer) -> None:
    soak = Soak(tmp_path, redis, Settings(lasts=8, rate=25, sample_every=0.5, kill_every=3))
    with soak.running():
        for _ in soak.go_on():
            pass
        books = soak.finish()
    assert books.broken == []
    assert books.accepted > 20
    assert books.done + books.revoked + books.dead >= books.accepted
    assert len({key.split()[0] for key in soak.stage.ledger.keys("accepted")}) > 5
    assert soak.kills
    parts = {part for part, quantity in soak.series if quantity == "descriptors"}
    assert len(parts) == 6
    assert all(max(value for _, value in points) > 0 for points in soak.series.values())
    assert {finding.flat for finding in soak.findings()} == {None}
