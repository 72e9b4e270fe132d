"""The documents cannot lie: code compiles and runs, commands and links exist, settings are all there.

Every check is a function from a document to what is wrong with it, and is shown to find it.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec
import pytest

from celeriac.core.settings import Settings
from tests.docs.markdown import Block, Document

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
DOCUMENTS = [
    Document.read(path)
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
SHELLS = {"console", "sh", "bash", "shell"}


def report(check: Callable[[Document], Iterator[str]]) -> None:
    """Fail with everything the check finds in all documents."""
    assert DOCUMENTS, f"no documents under {ROOT}"
    if found := [f"{d.path.relative_to(ROOT)}:{problem}" for d in DOCUMENTS for problem in check(d)]:
        pytest.fail("\n  ".join([str(check.__doc__), *found]), pytrace=False)


def document(text: str) -> Document:
    return Document(SETTINGS.with_name("example.md"), text)


# -- code ---------------------------------------------------------------------------------------


def python_that_does_not_compile(document: Document) -> Iterator[str]:
    """Every Python block compiles."""
    for block in document.blocks:
        if block.language == "python":
            try:
                compile(block.text, str(document.path), "exec", dont_inherit=True)
            except SyntaxError as error:
                yield f"{block.line + (error.lineno or 1) - 1}: {error.msg}"


def test_python_blocks_compile() -> None:
    report(python_that_does_not_compile)


def test_a_python_block_that_does_not_compile_is_found() -> None:
    wrong = document("Text\n```python\na = 1\nb =\n```\n```console\nb =\n```\n```python\n1\n```\n")
    assert list(python_that_does_not_compile(wrong)) == ["4: invalid syntax"]


def run_block(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "block.py"
    script.write_text(block.text)
    return subprocess.run(
        [sys.executable, script.name], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


RUNNABLE = [
    pytest.param(block, id=f"{d.path.relative_to(ROOT)}:{block.line}")
    for d in DOCUMENTS
    for block in d.blocks
    if block.language == "python" and "run" in block.flags
]


@pytest.mark.parametrize("block", RUNNABLE)
def test_python_run_blocks_run(block: Block, tmp_path: Path) -> None:
    finished = run_block(block, tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_a_python_run_block_that_fails_is_found(tmp_path: Path) -> None:
    [block] = document("```python run\nassert 1 + 1 == 3\n```\n").blocks
    assert (block.language, block.flags) == ("python", ["run"])
    finished = run_block(block, tmp_path)
    assert finished.returncode != 0
    assert "AssertionError" in finished.stderr


def test_no_block_has_a_flag_that_nobody_reads() -> None:
    flags = {flag for d in DOCUMENTS for block in d.blocks for flag in block.flags}
    assert flags <= {"run"}


# -- commands -----------------------------------------------------------------------------------


def commands(document: Document) -> Iterator[tuple[int, list[str]]]:
    """``(line, words)`` of every ``celeriac ...`` in a console block, prompt and comment taken off."""
    for block in document.blocks:
        if block.language in SHELLS:
            for offset, line in enumerate(block.text.splitlines()):
                command = line.strip().removeprefix("$ ").partition(" #")[0].split()
                if command[:1] == ["celeriac"]:
                    yield block.line + offset, command[1:]


def what_is_wrong_with(command: click.Command, words: list[str]) -> str | None:
    """Follow the words through the subcommands; return the first one that leads nowhere."""
    left = list(words)
    while left and (word := left.pop(0)) not in {"--", "&&", "||", "|", ">", ";"}:
        context = click.Context(command)
        if word.startswith("-"):
            name, given, _ = word.partition("=")
            options = {name: option for option in command.get_params(context) for name in option.opts}
            option = options.get(name)
            if not isinstance(option, click.Option):
                return f"{command.name} has no option {name}"
            if not (given or option.is_flag or option.count):
                left[:1] = []
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"{command.name} has no command {word}"
            command = found
    return None


@pytest.mark.skipif(find_spec("celeriac.cli") is None, reason="celeriac.cli does not exist yet")
def test_every_celeriac_command_in_a_console_block_exists() -> None:
    celeriac = importlib.import_module("celeriac.cli").celery_command

    def commands_that_do_not_exist(document: Document) -> Iterator[str]:
        """Every celeriac command in a console block exists, and so do its options."""
        for line, words in commands(document):
            if problem := what_is_wrong_with(celeriac, words):
                yield f"{line}: {problem}"

    report(commands_that_do_not_exist)


def test_commands_are_found_in_console_blocks_only() -> None:
    text = "```console\n$ celeriac -A shop dead list  # all\nsent\n```\n```python\nceleriac\n```\n"
    assert list(commands(document(text))) == [(2, ["-A", "shop", "dead", "list"])]
    assert list(commands(document("```sh\ncd shop\nceleriac demo\n```\n"))) == [(3, ["demo"])]


def test_a_command_that_does_not_exist_is_found() -> None:
    @click.group()
    @click.option("-A", "--app")
    def main() -> None: ...

    @main.group()
    def dead() -> None: ...

    @dead.command("list")
    @click.option("--json", is_flag=True)
    @click.argument("ids", nargs=-1)
    def _list() -> None: ...

    def wrong(line: str) -> str | None:
        return what_is_wrong_with(main, line.split())

    right = [
        "",
        "-A shop dead list",
        "--app=shop dead list --json 1 2",
        "dead --help",
        "dead list | grep --x",
    ]
    assert [wrong(line) for line in right] == [None] * len(right)
    assert wrong("-A shop alive list") == "main has no command alive"
    assert wrong("-A shop dead show") == "dead has no command show"
    assert wrong("dead list --yaml") == "list has no option --yaml"
    assert wrong("--ap shop dead list") == "main has no option --ap"


# -- links --------------------------------------------------------------------------------------


def links_that_lead_nowhere(document: Document) -> Iterator[str]:
    """Every link between files leads to a file and, if it names one, to a heading in it."""
    for line, target in document.links:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = document.path.parent / name if name else document.path
        if name and not file.exists():
            yield f"{line}: {target} does not exist"
        elif anchor and anchor not in (Document.read(file) if name else document).anchors:
            yield f"{line}: {target} names no heading"


def test_links_resolve() -> None:
    report(links_that_lead_nowhere)


def test_links_that_lead_nowhere_are_found() -> None:
    text = """
# Some `code`, and more
[good](settings.md) [also good](settings.md#what-happens-to-a-mistake) [here](#some-code-and-more)
[elsewhere](https://example.org/none) `[not](a-link)` [folder](../reference)
[bad](none.md) and [bad heading](settings.md#none)
[bad here](#none) ![picture](none.png)
[reference]: none.md
```python
[not](a-link)
```
"""
    assert list(links_that_lead_nowhere(document(text))) == [
        "5: none.md does not exist",
        "5: settings.md#none names no heading",
        "6: #none names no heading",
        "7: none.md does not exist",
    ]


# -- pictures -----------------------------------------------------------------------------------

BIGGEST_PICTURE = 200_000


def bad_pictures(document: Document) -> Iterator[str]:
    """Every picture is in the tree, loads quickly, and is told in words."""
    for line, text, name in document.pictures:
        file = document.path.parent / name
        if not file.exists():
            yield f"{line}: {name} does not exist"
        elif file.stat().st_size > BIGGEST_PICTURE:
            yield f"{line}: {name} has more than {BIGGEST_PICTURE} bytes"
        elif len(text.split()) < 3:
            yield f"{line}: {name} has no words for those who cannot see it"


def test_pictures_are_there_and_small() -> None:
    report(bad_pictures)


def test_bad_pictures_are_found(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(b"x" * BIGGEST_PICTURE)
    (tmp_path / "big.png").write_bytes(b"x" * (BIGGEST_PICTURE + 1))
    text = "![how it looks](good.png) ![how it looks](big.png)\n![it](good.png) ![how it looks](none.png)\n"
    assert list(bad_pictures(Document(tmp_path / "page.md", text))) == [
        "1: big.png has more than 200000 bytes",
        "2: good.png has no words for those who cannot see it",
        "2: none.png does not exist",
    ]


# -- settings -----------------------------------------------------------------------------------


def settings_told_wrongly(document: Document) -> Iterator[str]:
    """Every setting is documented once with its unit, default and meaning, and no other is."""
    defaults = msgspec.structs.asdict(Settings())
    rows = {row[0].strip("`"): row[1:] for row in document.rows}
    yield from (f"1: {name} is missing" for name in defaults if name not in rows)
    yield from (f"1: {name} is not a setting" for name in rows if name not in defaults)
    for name in defaults.keys() & rows.keys():
        unit, default, meaning = (*rows[name], "", "", "")[:3]
        if default != str(defaults[name]):
            yield f"1: {name} defaults to {defaults[name]}, not {default}"
        if not unit or len(meaning.split()) < 5:
            yield f"1: {name} needs a unit and a meaning"


def test_every_setting_is_documented() -> None:
    assert SETTINGS.exists(), f"{SETTINGS.relative_to(ROOT)} is missing: it documents every setting"
    if found := sorted(settings_told_wrongly(Document.read(SETTINGS))):
        pytest.fail("\n  ".join([str(settings_told_wrongly.__doc__), *found]), pytrace=False)


def test_settings_told_wrongly_are_found() -> None:
    text = SETTINGS.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    wrong = {
        text.replace(rows[0] + "\n", ""): "1: engine_lease_seconds is missing",
        text.replace("| `engine_batch_max`", "| `engine_batch_min`"): "1: engine_batch_max is missing",
        text.replace("`engine_batch_max` | messages | 256", "`engine_batch_max` | messages | 255"): (
            "1: engine_batch_max defaults to 256, not 255"
        ),
        text.replace("| deliveries |", "| |"): "1: engine_max_deliveries needs a unit and a meaning",
        text.replace(rows[0], f"{rows[0]}\n| `engine_more` | s | 1 | a b c d e f |"): (
            "1: engine_more is not a setting"
        ),
    }
    for changed, problem in wrong.items():
        assert problem in list(settings_told_wrongly(document(changed)))
