"""A function of Celery's with some of the names it closed over standing for something else."""

from __future__ import annotations

from types import CellType, FunctionType
from typing import Any

__all__ = ["rebound"]


def rebound(function: Any, **values: Any) -> Any:
    """Return a copy of the closure that sees these values; the original stays as it is.

    Raises :class:`TypeError` if it closes over no such name.
    """
    names = function.__code__.co_freevars
    if unknown := values.keys() - set(names):
        raise TypeError(f"{function.__qualname__} closes over no {', '.join(sorted(unknown))}")
    cells = tuple(
        CellType(values[name]) if name in values else cell
        for name, cell in zip(names, function.__closure__, strict=True)
    )
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, cells
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
