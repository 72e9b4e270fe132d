"""The house rules that a machine can check, each a function from a source tree to its violations.

Arrows between rooms, loops, doors, names, sizes, and what is said where everything is caught.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.unit.source_tree import PACKAGE, Module, SourceTree, called_name

__all__ = ["ALLOWED_INSIDE_FUNCTIONS", "RULES", "Rule", "Violation"]

#: Arrows run from a floor to any floor below it, never up and never along it.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"cli"}),
    frozenset({"check", "compare", "dead", "demo", "k8s", "scaler", "testing", "bridge"}),
    frozenset({"django", "bus", "limits", "routing", "deploy", "observe"}),
    frozenset({"brokers", "executors", "engine"}),
    frozenset({"core"}),
)
#: Rooms with fewer arrows than their floor allows, or with one along it.
ONLY = {
    "limits": {"core", "brokers"},
    "observe": {"core"},
    "engine": {"core"},
    "testing": {"core", "brokers", "django"},
    "dead": {"core", "bridge"},
    "deploy": {"core"},
    "k8s": {"core", "bridge", "deploy"},
    "scaler": {"core", "bridge", "deploy", "observe"},
    "demo": {"core", "brokers", "bridge", PACKAGE},
}
#: Rooms that may use the public names of the package itself, as an application does.
USERS_OF_PUBLIC_NAMES = {"cli", "check", "compare", "demo"}
#: Single modules that are an application, and use the package's public names as one.
APPLICATIONS = {f"{PACKAGE}.django.celery"}

#: (file, imported module) -> why the import cannot stand at the top of the file.
ALLOWED_INSIDE_FUNCTIONS: Mapping[tuple[str, str], str] = {}

CELERY = {"celery", "kombu", "billiard"}
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "misc"}
DRIVERS = {
    *("amqp", "amqps", "rabbitmq", "redis", "rediss", "sqs"),
    *("memory", "sqlite", "postgres", "postgresql"),
}
MAY_NAME_DRIVERS = ("brokers/", "bridge/transport.py")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50


@dataclass(frozen=True, order=True)
class Violation:
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def arrows(tree: SourceTree) -> Iterator[Violation]:
    """Rooms import only what lies below them, and every room has its place in the order."""
    known = frozenset({PACKAGE, "__main__"}).union(*FLOORS)
    for module in tree.modules.values():
        if module.room not in known:
            yield Violation(module.path, 1, f"room {module.room!r} has no place in the order of rooms")
            continue
        allowed = _allowed_rooms(module.room) | {module.room}
        if module.name in APPLICATIONS:
            allowed |= {PACKAGE}
        for found in tree.imports(module):
            if found.top == PACKAGE and found.room not in allowed:
                yield Violation(
                    module.path, found.line, f"{module.room} must not import {found.room} ({found.target})"
                )


def _allowed_rooms(room: str) -> set[str]:
    if room == PACKAGE:
        return set().union(*FLOORS) - {"cli"}
    if room == "__main__":
        return {"cli"}
    if room in ONLY:
        return ONLY[room]
    floor = next(index for index, rooms in enumerate(FLOORS) if room in rooms)
    public = {PACKAGE} if room in USERS_OF_PUBLIC_NAMES else set()
    return public.union(*FLOORS[floor + 1 :])


def loops(tree: SourceTree) -> Iterator[Violation]:
    """No module imports itself by way of others."""
    edges = {
        name: {found.target: found.line for found in tree.imports(module) if found.target in tree.modules}
        for name, module in tree.modules.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> Iterator[Violation]:
        if name in trail:
            loop = [*trail[trail.index(name) :], name]
            steps = [f"{tree.modules[a].path}:{edges[a][b]}" for a, b in pairwise(loop)]
            path, _, line = steps[0].rpartition(":")
            yield Violation(path, int(line), f"loop {' -> '.join(loop)}, at {', '.join(steps)}")
        elif name not in finished:
            for target in edges[name]:
                yield from visit(target, [*trail, name])
            finished.add(name)

    for name in edges:
        yield from visit(name, [])


def imports_at_top(tree: SourceTree) -> Iterator[Violation]:
    """Imports stand at the top of the file, but for optional libraries whose absence is MissingExtra."""
    for module in tree.modules.values():
        for found in tree.imports(module):
            optional = found.optional and found.top != PACKAGE
            excused = optional or (module.path, found.target) in ALLOWED_INSIDE_FUNCTIONS
            if found.inside_function and not excused:
                yield Violation(module.path, found.line, f"import of {found.target} inside a function")


def celery_only_in_bridge(tree: SourceTree) -> Iterator[Violation]:
    """Only bridge imports celery, kombu or billiard."""
    for module in tree.modules.values():
        for found in tree.imports(module):
            if found.top in CELERY and module.room != "bridge":
                yield Violation(module.path, found.line, f"imports {found.target}, which only bridge may")


def door_plates(tree: SourceTree) -> Iterator[Violation]:
    """Every room's __init__ says in three lines or more what it is and what it may import."""
    for folder in sorted({file.parent for file in tree.root.rglob("*.py")}):
        if not (folder / "__init__.py").exists():
            yield Violation(folder.relative_to(tree.root).as_posix(), 1, "has no __init__.py")
    for module in tree.modules.values():
        plate = module.docstring
        if module.is_door and (len(plate.splitlines()) < 3 or "May import:" not in plate):
            yield Violation(module.path, 1, "door plate needs three lines, one of them 'May import: ...'")


def telling_names(tree: SourceTree) -> Iterator[Violation]:
    """No module or package has a name that says nothing."""
    for module in tree.modules.values():
        vague = [part for part in module.name.split(".") if part.strip("_") in VAGUE_NAMES]
        if vague:
            yield Violation(module.path, 1, f"{vague[0]!r} says nothing; name the job it does")


def module_docstrings(tree: SourceTree) -> Iterator[Violation]:
    """Every module says what it is for."""
    for module in tree.modules.values():
        if not module.docstring:
            yield Violation(module.path, 1, "module has no docstring")


def file_sizes(tree: SourceTree) -> Iterator[Violation]:
    """Files stay short enough to be read at one go."""
    for module in tree.modules.values():
        lines = len(module.source.splitlines())
        if lines > MAX_FILE_LINES:
            yield Violation(module.path, lines, f"file has {lines} lines, at most {MAX_FILE_LINES}")


def function_sizes(tree: SourceTree) -> Iterator[Violation]:
    """Functions stay short enough to be seen at one glance."""
    for module in tree.modules.values():
        for node in module.functions():
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield Violation(
                    module.path, node.lineno, f"{node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"
                )


def explained_boundaries(tree: SourceTree) -> Iterator[Violation]:
    """Whoever catches everything says, on that line or one beside it, what is then true."""
    for module in tree.modules.values():
        explained = _lines_with_a_comment(module)
        for node in module.handlers():
            caught = ast.walk(node.type) if node.type else [ast.Name("BaseException")]
            everything = {getattr(name, "id", "") for name in caught} & {"Exception", "BaseException"}
            if everything and explained.isdisjoint(range(node.lineno - 1, node.lineno + 2)):
                yield Violation(
                    module.path, node.lineno, "catches everything without saying what is then true"
                )


def _lines_with_a_comment(module: Module) -> set[int]:
    """Lines whose comment has three words or more, instructions to tools not counted."""
    tokens = tokenize.generate_tokens(io.StringIO(module.source).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    tools = re.compile(r"noqa|type: ?ignore(\[[\w, -]*\])?|pragma: no cover|\b[A-Z]+\d+\b")
    return {line for line, text in comments.items() if len(re.findall(r"\w+", tools.sub("", text))) >= 3}


def no_driver_names(tree: SourceTree) -> Iterator[Violation]:
    """Nobody asks which broker there is; they ask ``broker.features``."""
    for module in tree.modules.values():
        if module.path.startswith(MAY_NAME_DRIVERS):
            continue
        for node in ast.walk(module.tree):
            for operand in _compared(node):
                if isinstance(operand, ast.Constant) and _is_driver(operand.value):
                    yield Violation(
                        module.path, operand.lineno, f"compares with {operand.value!r}; ask broker.features"
                    )


def _compared(node: ast.AST) -> list[ast.expr]:
    """The operands of a comparison, those inside a tuple, list or set of them too."""
    operands: list[ast.expr] = []
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
    elif isinstance(node, ast.MatchValue):
        operands = [node.value]
    elif isinstance(node, ast.Call) and called_name(node) in {"startswith", "endswith"}:
        operands = node.args
    collections = (operand for operand in operands if isinstance(operand, ast.Tuple | ast.List | ast.Set))
    return [*operands, *(element for collection in collections for element in collection.elts)]


def _is_driver(value: object) -> bool:
    return isinstance(value, str) and re.split("[:+]", value.lower())[0] in DRIVERS


Rule = Callable[[SourceTree], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    arrows,
    loops,
    imports_at_top,
    celery_only_in_bridge,
    door_plates,
    telling_names,
    module_docstrings,
    file_sizes,
    function_sizes,
    explained_boundaries,
    no_driver_names,
)
