"""The changelog has the headings of Keep a Changelog, and speaks of the version in the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import celeriac
from tests.docs.markdown import Document

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"
KINDS_OF_CHANGE = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
RELEASE = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d")
UNRELEASED = "[Unreleased]"


def heading_mistakes(changelog: Document) -> Iterator[str]:
    """``# Changelog``, then releases, in each of them kinds of change, in each of those a list."""
    release = ""
    for number, (line, level, text, prose) in enumerate(changelog.sections):
        if level == 1 and number == 0 and text == "Changelog":
            continue
        if level == 2 and (text == UNRELEASED or RELEASE.fullmatch(text)):
            release = text
        elif level == 3 and release and text in KINDS_OF_CHANGE:
            if not re.search(r"^- \S", prose, re.MULTILINE):
                yield f"{line}: nothing is listed under {text!r} of {release}"
        else:
            yield f"{line}: {text!r} is not a heading of Keep a Changelog at this place"


def order_mistakes(changelog: Document) -> Iterator[str]:
    """Newest first, and the first is what the tree holds."""
    releases = [text for _, level, text in changelog.headings if level == 2]
    versions = [tuple(map(int, match.groups())) for match in map(RELEASE.fullmatch, releases) if match]
    if UNRELEASED in releases[1:] or any(newer <= older for newer, older in pairwise(versions)):
        yield "1: releases are not newest first"
    if not releases or not releases[0].startswith((UNRELEASED, f"[{celeriac.__version__}]")):
        yield f"1: does not begin with {UNRELEASED} or version {celeriac.__version__}"


def mistakes(changelog: Document) -> list[str]:
    return [*heading_mistakes(changelog), *order_mistakes(changelog)]


def test_the_changelog_keeps_its_form() -> None:
    if found := mistakes(Document.read(CHANGELOG)):
        pytest.fail("\n  ".join([f"{CHANGELOG.name}: {__doc__}", *found]), pytrace=False)


RIGHT = f"""\
# Changelog

What users notice.

## [Unreleased]

### Added

- A.

## [{celeriac.__version__}] - 2030-01-31

### Changed

- B,
  at length.
### Fixed
- C.
"""

WRONG = {
    "no title": ("# Changelog", "# Changes", "'Changes' is not a heading"),
    "a release without a date": (" - 2030-01-31", "", "is not a heading of Keep a Changelog"),
    "an unknown kind": ("### Added", "### News", "'News' is not a heading"),
    "too deep": ("### Added", "#### Added", "'Added' is not a heading"),
    "a change of no release": ("## [Unreleased]\n", "", "'Added' is not a heading"),
    "an empty list": ("- A.", "", "nothing is listed under 'Added' of [Unreleased]"),
    "oldest first": ("[Unreleased]", "[0.0.1] - 2030-01-31", "not newest first"),
    "unreleased below": (f"[{celeriac.__version__}] - 2030-01-31", "[Unreleased]", "not newest first"),
    "of another version": ("[Unreleased]", "[9999.0.0] - 2030-01-31", "does not begin with"),
    "nothing": (RIGHT, "", "does not begin with"),
}


def test_a_changelog_in_the_right_form_has_no_mistakes() -> None:
    assert mistakes(Document(CHANGELOG, RIGHT)) == []


@pytest.mark.parametrize(("old", "new", "mistake"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_a_changelog_is_found(old: str, new: str, mistake: str) -> None:
    assert old in RIGHT
    assert mistake in "\n".join(mistakes(Document(CHANGELOG, RIGHT.replace(old, new))))
