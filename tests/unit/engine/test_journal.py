"""What a shard has started, as its supervisor finds it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.engine.journal import Entry, Journal

REASON = "it died"
#: A record's size, as journal.py lays it out.
RECORD = 64


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(8)
    yield journal
    journal.close()


def leases(journal: Journal) -> list[str]:
    return sorted(entry.lease for entry in journal.entries())


def killed_after(write: Callable[[], None]) -> None:
    """Run ``write`` in a child that then kills itself."""
    pid = os.fork()
    if pid == 0:
        try:
            write()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_a_new_journal_is_empty(journal: Journal) -> None:
    assert list(journal.entries()) == []
    assert journal.read_note() == b""


def test_a_delivery_goes_through_its_states(journal: Journal) -> None:
    slot = journal.begin("a", at_most_once=False, deadline=12.5)
    assert list(journal.entries()) == [Entry("a", at_most_once=False, finished=False, deadline=12.5)]
    journal.finish(slot)
    [entry] = journal.entries()
    assert (entry.lease, entry.finished) == ("a", True)
    journal.settle(slot)
    assert list(journal.entries()) == []


def test_a_delivery_that_must_not_run_twice_says_so(journal: Journal) -> None:
    journal.begin("a", at_most_once=True)
    assert list(journal.entries()) == [Entry("a", at_most_once=True, finished=False, deadline=0.0)]


def test_a_body_that_has_ended_has_no_deadline_any_more(journal: Journal) -> None:
    slot = journal.begin("a", at_most_once=True, deadline=12.5)
    other = journal.begin("b", at_most_once=True, deadline=13.5)
    journal.end(slot)
    assert {entry.lease: entry.deadline for entry in journal.entries()} == {"a": 0.0, "b": 13.5}
    journal.end(other)
    assert not any(entry.finished for entry in journal.entries())


def test_the_longest_id_and_the_empty_one_are_read_back(journal: Journal) -> None:
    longest = "".join(chr(33 + number) for number in range(47))
    journal.begin(longest, at_most_once=False, deadline=1.0)
    journal.begin("", at_most_once=True, deadline=2.0)
    assert [(entry.lease, entry.deadline) for entry in journal.entries()] == [(longest, 1.0), ("", 2.0)]


def test_a_short_id_in_the_place_of_a_long_one_is_not_mixed_with_it(journal: Journal) -> None:
    journal.settle(journal.begin("x" * 47, at_most_once=True, deadline=9.0))
    journal.begin("y", at_most_once=False)
    assert list(journal.entries()) == [Entry("y", at_most_once=False, finished=False, deadline=0.0)]


def test_all_slots_can_be_used_again_and_again() -> None:
    journal = Journal(3)
    for turn in range(5):
        slots = [journal.begin(f"{turn}-{number}", at_most_once=False) for number in range(3)]
        assert len(set(slots)) == 3
        assert leases(journal) == [f"{turn}-{number}" for number in range(3)]
        with pytest.raises(IndexError):
            journal.begin("one too many", at_most_once=False)
        assert leases(journal) == [f"{turn}-{number}" for number in range(3)]
        for slot in slots:
            journal.settle(slot)
    assert leases(journal) == []


def test_a_record_without_its_state_byte_is_not_seen(journal: Journal) -> None:
    slot = journal.begin("whole", at_most_once=False, deadline=5.0)
    # All of a record but its first byte: what begin has written just before it writes the state.
    body = bytes([4]) + b"torn".ljust(47, b"\0") + bytes(7) + b"\0" * 8
    start = slot + RECORD
    journal._memory[start + 1 : start + RECORD] = body
    assert leases(journal) == ["whole"]
    journal._memory[start] = 1
    assert leases(journal) == ["torn", "whole"]


@given(st.binary(min_size=4 * RECORD, max_size=4 * RECORD))
def test_only_slots_with_a_state_are_read(noise: bytes) -> None:
    """Whatever lies in free slots, from torn writes or earlier use, is nobody's business."""
    journal = Journal(4)
    journal._memory[: 4 * RECORD] = noise
    for slot in range(0, 4 * RECORD, RECORD):
        journal._memory[slot] = 0
    assert list(journal.entries()) == []
    journal.begin("mine", at_most_once=False, deadline=3.0)
    assert list(journal.entries()) == [Entry("mine", at_most_once=False, finished=False, deadline=3.0)]
    journal.close()


IDS = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=47), unique=True)


@given(IDS, st.data())
def test_eviction_names_each_started_delivery_once(ids: list[str], data: st.DataObject) -> None:
    journal = Journal(max(len(ids), 1))
    at_most_once = {id_: data.draw(st.booleans()) for id_ in ids}
    ends = {id_: data.draw(st.sampled_from(["running", "finished", "settled"])) for id_ in ids}
    condemned = {id_: f"{id_} ran too long" for id_ in ids if data.draw(st.booleans())}
    counted = data.draw(st.booleans())
    for id_ in ids:
        slot = journal.begin(id_, at_most_once=at_most_once[id_])
        if ends[id_] != "running":
            journal.finish(slot)
        if ends[id_] == "settled":
            journal.settle(slot)
    eviction = journal.eviction("me", reason=REASON, counted=counted, condemned=condemned)
    running = {id_ for id_ in ids if ends[id_] == "running"}
    forfeited = {id_ for id_ in running if at_most_once[id_] or id_ in condemned}
    assert eviction.owner == "me"
    assert eviction.finished == {id_ for id_ in ids if ends[id_] == "finished"}
    assert eviction.forfeited == {id_: condemned.get(id_, REASON) for id_ in forfeited}
    assert eviction.interrupted == (running - forfeited if counted else set())
    journal.close()


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("condemned", [True, False])
@pytest.mark.parametrize("at_most_once", [True, False])
@pytest.mark.parametrize("finished", [True, False])
def test_eviction_of_one(
    journal: Journal, *, finished: bool, at_most_once: bool, condemned: bool, counted: bool
) -> None:
    slot = journal.begin("a", at_most_once=at_most_once)
    if finished:
        journal.finish(slot)
    named = {"a": "ran too long"} if condemned else {}
    eviction = journal.eviction("me", reason=REASON, counted=counted, condemned=named)
    found = (bool(eviction.finished), bool(eviction.forfeited), bool(eviction.interrupted))
    if finished:
        assert found == (True, False, False)
    elif at_most_once or condemned:
        assert found == (False, True, False)
    else:
        assert found == (False, False, counted)


def test_notes(journal: Journal) -> None:
    journal.note(b"a long story about a task")
    assert journal.read_note() == b"a long story about a task"
    journal.note(b"short")
    assert journal.read_note() == b"short"
    journal.note(b"")
    assert journal.read_note() == b""
    journal.note(b"x" * 16384)
    assert journal.read_note() == b"x" * 16384


def test_a_note_too_long_to_keep_does_not_leave_the_one_before(journal: Journal) -> None:
    journal.note(b"the task before")
    journal.note(b"x" * 16385)
    assert journal.read_note() == b""


def test_notes_and_records_do_not_touch_each_other() -> None:
    journal = Journal(2)
    journal.note(b"n" * 16384)
    for lease in ("a" * 47, "b" * 47):
        journal.begin(lease, at_most_once=True, deadline=1e300)
    assert journal.read_note() == b"n" * 16384
    journal.note(b"m" * 16384)
    assert leases(journal) == ["a" * 47, "b" * 47]
    journal.close()


def test_what_a_killed_child_wrote_is_there(journal: Journal) -> None:
    def write() -> None:
        journal.begin("running", at_most_once=False, deadline=7.0)
        journal.begin("only once", at_most_once=True)
        journal.finish(journal.begin("finished", at_most_once=True))
        journal.settle(journal.begin("settled", at_most_once=True))
        journal.note(b"running and running")

    killed_after(write)
    assert sorted(journal.entries(), key=lambda entry: entry.lease) == [
        Entry("finished", at_most_once=False, finished=True, deadline=0.0),
        Entry("only once", at_most_once=True, finished=False, deadline=0.0),
        Entry("running", at_most_once=False, finished=False, deadline=7.0),
    ]
    assert journal.read_note() == b"running and running"
    eviction = journal.eviction("me", reason=REASON)
    assert eviction.finished == {"finished"}
    assert eviction.interrupted == {"running"}
    assert eviction.forfeited == {"only once": REASON}


def test_a_child_killed_at_any_time_leaves_whole_records() -> None:
    """A child writes as fast as it can until it is killed; each record found says what was written."""
    for _ in range(10):
        journal = Journal(4)
        pid = os.fork()
        if pid == 0:
            number = 0
            while True:
                number += 1
                slot = journal.begin(f"{number}" * 5, at_most_once=number % 2 == 0, deadline=float(number))
                if number % 3 == 0:
                    journal.finish(slot)
                journal.settle(slot)
        while not any(True for _ in journal.entries()):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for entry in journal.entries():
            number = int(entry.deadline)
            assert entry.lease == f"{number}" * 5
            assert entry.finished or entry.at_most_once == (number % 2 == 0)
        journal.close()


def test_what_was_announced_as_terminated_is_finished_though_it_runs_on() -> None:
    journal = Journal(slots=4)
    journal.announce(journal.begin("a", at_most_once=False, deadline=5.0))
    [entry] = journal.entries()
    assert (entry.lease, entry.finished, entry.announced, entry.deadline) == ("a", True, True, 5.0)
    assert journal.eviction("o", reason="r", condemned={"a": "c"}).finished == frozenset({"a"})
    assert journal.eviction("o", reason="r", condemned={"a": "c"}).forfeited == {}


def test_a_signal_is_taken_once() -> None:
    journal = Journal(slots=1)
    journal.expect_signal(15)
    assert [journal.take_signal(), journal.take_signal()] == [15, 0]
