"""A package's source as parsed modules and the imports between them, wherever in a file they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["PACKAGE", "Import", "Module", "SourceTree", "called_name"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: The package whose rooms are looked at.
PACKAGE = "celeriac"


@dataclass(frozen=True)
class Import:
    """One imported module; a name imported from a package counts as a module if it is one."""

    target: str
    line: int
    inside_function: bool
    #: Stands in a ``try`` whose handler raises MissingExtra.
    optional: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    @property
    def room(self) -> str:
        """The room it leads into, if it is ours."""
        return self.target.removeprefix(f"{PACKAGE}.").partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One file of the tree."""

    #: Relative to the package's folder.
    path: str
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def room(self) -> str:
        """The folder or file directly under the package; the package's own name for its __init__."""
        return self.name.removeprefix(f"{PACKAGE}.").partition(".")[0]

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def is_door(self) -> bool:
        """Whether it is the __init__ of a room."""
        return self.is_package and self.name.count(".") == 1

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def handlers(self) -> Iterator[ast.ExceptHandler]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ExceptHandler))


@dataclass(frozen=True)
class SourceTree:
    """All modules under one folder, by their dotted names."""

    root: Path
    modules: Mapping[str, Module]

    @classmethod
    def read(cls, root: Path) -> SourceTree:
        modules = {}
        for file in sorted(root.rglob("*.py")):
            path = file.relative_to(root)
            name = ".".join(part for part in (PACKAGE, *path.with_suffix("").parts) if part != "__init__")
            modules[name] = Module(path.as_posix(), name, file.read_text())
        return cls(root, modules)

    def imports(self, module: Module) -> list[Import]:
        """Every import of the module: at the top, under TYPE_CHECKING, in functions, by import_module."""
        return list(self._imports_under(module.tree, module, inside=False, optional=False))

    def _imports_under(
        self, node: ast.AST, module: Module, *, inside: bool, optional: bool
    ) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for target in self._targets(child, module):
                yield Import(target, getattr(child, "lineno", 0), inside, optional)
            yield from self._imports_under(
                child,
                module,
                inside=inside or isinstance(child, Function | ast.Lambda),
                optional=optional or (isinstance(child, ast.Try) and _raises_missing_extra(child)),
            )

    def _targets(self, node: ast.AST, module: Module) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = _base_of(node, module)
            names = [f"{base}.{alias.name}" for alias in node.names]
            return [name if name in self.modules else base for name in names]
        if isinstance(node, ast.Call) and called_name(node) in {"import_module", "__import__"}:
            return [str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        return []


def called_name(call: ast.Call) -> str:
    """Return the last part of what is called: ``f`` for ``f()`` as for ``a.f()``."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    return str(name)


def _base_of(node: ast.ImportFrom, module: Module) -> str:
    """Return the absolute name of what stands between ``from`` and ``import``."""
    if not node.level:
        return node.module or ""
    parents = module.name.split(".")
    up = node.level - module.is_package
    return ".".join([*parents[: len(parents) - up], *filter(None, [node.module])])


def _raises_missing_extra(attempt: ast.Try) -> bool:
    raised = [
        node.exc for handler in attempt.handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)
    ]
    return any(isinstance(error, ast.Call) and called_name(error) == "MissingExtra" for error in raised)
