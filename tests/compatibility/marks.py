"""Which test says that it shows what, read from the sources of the tests.

They are read and not run, so that the page is the same whatever is installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BadMark", "Shown", "read_marks"]

#: Fixtures with which a test does the same with Celery's own worker.
COMPARING = frozenset({"both", "either", "make_either"})


class BadMark(Exception):
    """A mark that cannot be read."""


@dataclass(frozen=True)
class Shown:
    """One thing that one test shows."""

    kind: str
    name: str
    #: Of the test's file, from the root of the tree.
    path: str
    test: str
    #: Whether the same test is passed by Celery's own worker.
    compared: bool = False


def read_marks(root: Path) -> list[Shown]:
    """Return what the tests under ``root/tests`` show, by file and line.

    Raises :class:`BadMark` for a mark that is not written with plain strings, or that marks no test.
    """
    return [shown for file in sorted((root / "tests").rglob("test_*.py")) for shown in _of_file(root, file)]


def _of_file(root: Path, file: Path) -> Iterator[Shown]:
    path = file.relative_to(root).as_posix()
    tree = ast.parse(file.read_text(), path)
    unread = {call.lineno for call in _calls(tree)}
    everywhere = [call for node in tree.body if _sets_pytestmark(node) for call in _calls(node)]
    for scope, test in _tests(tree):
        decorators = [*test.decorator_list, *(scope.decorator_list if scope else [])]
        calls = [*(call for decorator in decorators for call in _calls(decorator)), *everywhere]
        compared = any(argument.arg in COMPARING for argument in test.args.args)
        for call in calls:
            unread.discard(call.lineno)
            kind, *names = _strings(call, path)
            yield from (Shown(kind, name, path, test.name, compared) for name in names)
    if unread:
        raise BadMark(f"{path}:{min(unread)}: this mark marks no test")


def _tests(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        scope = node if isinstance(node, ast.ClassDef) else None
        for inner in scope.body if scope else [node]:
            is_function = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and inner.name.startswith("test_"):
                yield scope, inner


def _sets_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "pytest.mark.shows":
            yield inner


def _strings(call: ast.Call, path: str) -> list[str]:
    strings = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if len(strings) != len(call.args) or len(strings) < 2 or call.keywords:
        raise BadMark(f"{path}:{call.lineno}: write shows(kind, name, ...) with plain strings")
    return strings
