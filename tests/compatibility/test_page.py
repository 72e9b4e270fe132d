"""The committed page is what the tests' marks and Celery say now; whatever is wrong with them is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import celery
import pytest

from tests.compatibility.catalogue import catalogue, is_ours
from tests.compatibility.marks import BadMark, Shown, read_marks
from tests.compatibility.page import ROOT, Page
from tests.compatibility.remarks import Remark, Remarks, read_remarks


@pytest.fixture(scope="module")
def page() -> Page:
    found = Page.read()
    if not celery.__version__.startswith(f"{found.remarks.celery}."):
        pytest.skip(f"the page speaks of Celery {found.remarks.celery}")
    return found


def test_everything_is_accounted_for(page: Page) -> None:
    if found := page.mistakes():
        pytest.fail("\n".join(found), pytrace=False)


def test_the_committed_page_is_up_to_date(page: Page) -> None:
    committed = (ROOT / "docs" / "compatibility.md").read_text()
    assert committed == page.text(), "run make compatibility"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("worker option", "--autoscale"),
        ("setting", "worker_soft_shutdown_timeout"),
        ("signal", "task_prerun"),
        ("control command", "add_consumer"),
        ("task option", "acks_late"),
        ("task option", "autoretry_for"),
        ("task option", "countdown"),
        ("canvas", "chord"),
    ],
)
def test_celery_tells_what_there_is(kind: str, name: str) -> None:
    assert name in catalogue()[kind]


def test_names_of_our_own_are_known() -> None:
    assert is_ours("setting", "engine_lease_seconds")
    assert is_ours("task option", "delay_many")
    assert not is_ours("setting", "engine_leese_seconds")
    assert not is_ours("task option", "acks_late")


# -- Marks


def tree(root: Path, text: str) -> Path:
    (root / "tests").mkdir()
    (root / "tests" / "test_some.py").write_text(text)
    return root


def test_marks_of_modules_classes_functions_and_parameters_are_read(tmp_path: Path) -> None:
    text = """
import pytest
pytestmark = pytest.mark.shows("beyond", "all")

@pytest.mark.shows("signal", "one", "two")
@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.shows("setting", "three"))])
def test_function(x, either): ...

@pytest.mark.shows("canvas", "four")
class TestClass:
    async def test_method(self): ...
"""
    found = {(one.test, one.kind, one.name, one.compared) for one in read_marks(tree(tmp_path, text))}
    assert found == {
        ("test_function", "beyond", "all", True),
        ("test_function", "signal", "one", True),
        ("test_function", "signal", "two", True),
        ("test_function", "setting", "three", True),
        ("test_method", "beyond", "all", False),
        ("test_method", "canvas", "four", False),
    }


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("@pytest.mark.shows('signal', NAME)\ndef test_a(): ...", "test_some.py:1: write shows"),
        ("@pytest.mark.shows('signal')\ndef test_a(): ...", "test_some.py:1: write shows"),
        (
            "\n@pytest.mark.shows('signal', 'one')\ndef helper(): ...",
            "py:2: this mark marks no test",
        ),
    ],
)
def test_a_mark_that_cannot_be_read_is_named(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(BadMark, match=mistake):
        read_marks(tree(tmp_path, text))


# -- Remarks, and the page


def small_page(*shown: Shown, remarks: tuple[Remark, ...] = ()) -> Page:
    """A page on a Celery with two signals."""
    return Page({"signal": ["one", "two"]}, list(shown), Remarks("5.7", list(remarks), {}))


def mark(name: str, kind: str = "signal", **more: object) -> Shown:
    return dataclasses.replace(Shown(kind, name, "tests/test_some.py", "test_it"), **more)


UNTOUCHED = Remark("untouched", "signal", "two", "left alone")


def test_nothing_is_wrong_with_a_complete_page() -> None:
    page = small_page(mark("one", compared=True), remarks=(UNTOUCHED,))
    assert page.mistakes() == []
    assert "| `one` | [it](../tests/test_some.py) **=** |  |" in page.text()
    assert "| `two` | | Celery's own code: left alone |" in page.text()
    assert "| Signals | 1 |  |  | 1 |  |" in page.text()


def test_what_differs_is_told_at_the_top_and_beside_its_test() -> None:
    page = small_page(mark("one"), mark("two"), remarks=(Remark("differs", "signal", "t*", "later"),))
    assert page.mistakes() == []
    assert "- signal `t*`: later" in page.text()
    assert "| `two` | [it](../tests/test_some.py) | differs: later |" in page.text()


@pytest.mark.parametrize(
    ("page", "mistake"),
    [
        (small_page(mark("one")), "signal 'two' is neither shown by a test nor explained"),
        (
            small_page(mark("one"), mark("twoo"), remarks=(UNTOUCHED,)),
            "no signal 'twoo'; did you mean",
        ),
        (small_page(mark("one"), mark("x", "sound"), remarks=(UNTOUCHED,)), "'sound' is none of the kinds"),
        (small_page(mark("one"), mark("two"), remarks=(UNTOUCHED,)), "strike the remark"),
        (
            small_page(mark("one"), mark("two"), remarks=(Remark("unused", "signal", "three", "no"),)),
            "unused signal 'three' is nothing",
        ),
    ],
)
def test_a_mistake_is_named(page: Page, mistake: str) -> None:
    assert any(mistake in found for found in page.mistakes()), page.mistakes()


def test_a_part_of_the_remarks_that_nobody_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text('celery = "5.7"\n[diffres.signal]\none = "x"\n')
    with pytest.raises(KeyError, match="diffres"):
        read_remarks(tmp_path / "some.toml")
