"""The source keeps every house rule; and every rule fails on a small tree that breaks it on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.house_rules import ALLOWED_INSIDE_FUNCTIONS, RULES, Rule
from tests.unit.source_tree import SourceTree

SOURCE = Path(__file__).resolve().parents[2] / "src" / "celeriac"


@pytest.fixture(scope="module")
def celeriac() -> SourceTree:
    tree = SourceTree.read(SOURCE)
    assert tree.modules, f"no modules under {SOURCE}"
    for module in tree.modules.values():
        try:
            compile(module.source, module.path, "exec")
        except SyntaxError as error:
            pytest.fail(f"{error.filename}:{error.lineno}: {error.msg}", pytrace=False)
    return tree


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps(rule: Rule, celeriac: SourceTree) -> None:
    if found := sorted(rule(celeriac)):
        pytest.fail("\n  ".join([f"{rule.__name__}: {rule.__doc__}", *map(str, found)]), pytrace=False)


def test_every_excused_import_still_exists_and_has_its_reason(celeriac: SourceTree) -> None:
    present = {
        (module.path, i.target) for module in celeriac.modules.values() for i in celeriac.imports(module)
    }
    assert set(ALLOWED_INSIDE_FUNCTIONS) <= present
    assert all(len(reason.split()) > 3 for reason in ALLOWED_INSIDE_FUNCTIONS.values())


ROOMS = ("core", "brokers", "engine", "executors", "bus", "routing", "bridge", "testing", "demo")
PLATE = '"""A room.\n\nMay import: what lies below.\n"""\n'
DOC = '"""A module."""\n'


def write_tree(root: Path, files: dict[str, str]) -> SourceTree:
    """A tree that keeps all rules, with the given files put in."""
    sound = {"__init__.py": DOC, "cli.py": DOC} | {f"{room}/__init__.py": PLATE for room in ROOMS}
    for path, text in (sound | files).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return SourceTree.read(root)


def all_violations(tree: SourceTree) -> set[tuple[str, str]]:
    """Which rule is broken where, as ``(rule, "path:line")``."""
    return {(rule.__name__, f"{v.path}:{v.line}") for rule in RULES for v in rule(tree)}


class Wrong(NamedTuple):
    rule: str
    at: str
    files: dict[str, str]


def module(*lines: str) -> str:
    """A module with a docstring on line 1 and the given lines from line 2 on."""
    return DOC + "\n".join(lines) + "\n"


def function(*body: str) -> str:
    return module("def work(value):", *(f"    {line}" for line in body))


WRONG = {
    "core looks up": Wrong("arrows", "core/x.py:2", {"core/x.py": module("import celeriac.engine")}),
    "engine names a broker": Wrong(
        "arrows", "engine/x.py:2", {"engine/x.py": module("from celeriac.brokers import redis")}
    ),
    "engine knows an executor": Wrong(
        "arrows", "engine/x.py:2", {"engine/x.py": module("from celeriac import executors")}
    ),
    "a feature imports a feature": Wrong(
        "arrows", "bus/x.py:2", {"bus/x.py": module("from celeriac.routing.sites import Site")}
    ),
    "a feature imports bridge": Wrong("arrows", "bus/x.py:2", {"bus/x.py": module("import celeriac.bridge")}),
    "testing imports the engine": Wrong(
        "arrows", "testing/x.py:2", {"testing/x.py": module("from celeriac.engine import run")}
    ),
    "bridge imports testing": Wrong(
        "arrows", "bridge/x.py:2", {"bridge/x.py": module("from celeriac.testing import contract")}
    ),
    "demo imports the engine": Wrong(
        "arrows", "demo/x.py:2", {"demo/x.py": module("from celeriac.engine import run")}
    ),
    "somebody imports cli": Wrong("arrows", "demo/x.py:2", {"demo/x.py": module("import celeriac.cli")}),
    "the package imports cli": Wrong(
        "arrows", "__init__.py:2", {"__init__.py": module("import celeriac.cli")}
    ),
    "a lower room uses the public names": Wrong(
        "arrows", "brokers/x.py:2", {"brokers/x.py": module("from celeriac import __version__")}
    ),
    "Django's side, but for its app, uses the public names": Wrong(
        "arrows",
        "django/x.py:2",
        {"django/__init__.py": PLATE, "django/x.py": module("from celeriac import Celery")},
    ),
    "hidden under TYPE_CHECKING": Wrong(
        "arrows",
        "core/x.py:4",
        {
            "core/x.py": module(
                "from typing import TYPE_CHECKING", "if TYPE_CHECKING:", "    import celeriac.bus"
            )
        },
    ),
    "a relative import": Wrong("arrows", "core/x.py:2", {"core/x.py": module("from ..engine import run")}),
    "an unknown room": Wrong("arrows", "attic/__init__.py:1", {"attic/__init__.py": PLATE}),
    "two modules in a loop": Wrong(
        "loops",
        "core/a.py:2",
        {"core/a.py": module("from celeriac.core.b import B"), "core/b.py": module("import celeriac.core.a")},
    ),
    "three modules in a loop": Wrong(
        "loops",
        "core/a.py:2",
        {
            "core/a.py": module("from celeriac.core import b"),
            "core/b.py": module("from .c import C"),
            "core/c.py": module("", "from celeriac.core.a import A"),
        },
    ),
    "a loop through a door": Wrong(
        "loops",
        "core/__init__.py:5",
        {
            "core/__init__.py": PLATE + "from celeriac.core.a import A\n",
            "core/a.py": module("from . import A"),
        },
    ),
    "an import in a function": Wrong("imports_at_top", "core/x.py:3", {"core/x.py": function("import json")}),
    "an import in a method, in a branch": Wrong(
        "imports_at_top",
        "core/x.py:5",
        {"core/x.py": module("class A:", "    def b(self):", "        if self:", "            import json")},
    ),
    "an import by name in a function": Wrong(
        "imports_at_top", "core/x.py:3", {"core/x.py": function("return importlib.import_module('json')")}
    ),
    "an own module is never optional": Wrong(
        "imports_at_top",
        "bridge/x.py:4",
        {
            "bridge/x.py": function(
                "try:",
                "    from celeriac.core import message",
                "except ImportError:",
                "    raise MissingExtra('core', 'core')",
            )
        },
    ),
    "a swallowed missing library": Wrong(
        "imports_at_top",
        "brokers/x.py:4",
        {"brokers/x.py": function("try:", "    import redis", "except ImportError:", "    return None")},
    ),
    "celery in engine": Wrong(
        "celery_only_in_bridge", "engine/x.py:2", {"engine/x.py": module("import celery.app")}
    ),
    "kombu in brokers": Wrong(
        "celery_only_in_bridge", "brokers/x.py:2", {"brokers/x.py": module("from kombu import Connection")}
    ),
    "billiard in demo": Wrong(
        "celery_only_in_bridge", "demo/x.py:2", {"demo/x.py": module("import billiard")}
    ),
    "celery in cli": Wrong(
        "celery_only_in_bridge", "cli.py:2", {"cli.py": module("from celery import Celery")}
    ),
    "a short door plate": Wrong(
        "door_plates", "core/__init__.py:1", {"core/__init__.py": '"""May import: nothing."""\n'}
    ),
    "a door plate without arrows": Wrong(
        "door_plates", "core/__init__.py:1", {"core/__init__.py": '"""A room.\n\nRead first: x.py.\n"""\n'}
    ),
    "a folder without a door": Wrong("door_plates", "core/inner:1", {"core/inner/x.py": DOC}),
    "a module of utils": Wrong("telling_names", "core/utils.py:1", {"core/utils.py": DOC}),
    "a package of helpers": Wrong(
        "telling_names", "core/_helpers/__init__.py:1", {"core/_helpers/__init__.py": DOC}
    ),
    "no docstring": Wrong("module_docstrings", "core/x.py:1", {"core/x.py": "A = 1\n"}),
    "a long file": Wrong("file_sizes", "core/x.py:401", {"core/x.py": DOC + "A = 1\n" * 400}),
    "a long function": Wrong("function_sizes", "core/x.py:2", {"core/x.py": function(*["value += 1"] * 50)}),
    "a long async method": Wrong(
        "function_sizes",
        "core/x.py:3",
        {"core/x.py": module("class A:", "    async def b(self):", *["        self.c()"] * 50)},
    ),
    "except Exception": Wrong(
        "explained_boundaries",
        "core/x.py:5",
        {"core/x.py": function("try:", "    f()", "except Exception:", "    g()")},
    ),
    "a bare except": Wrong(
        "explained_boundaries",
        "core/x.py:5",
        {"core/x.py": function("try:", "    f()", "except:", "    g()")},
    ),
    "BaseException among others": Wrong(
        "explained_boundaries",
        "core/x.py:5",
        {
            "core/x.py": function(
                "try:", "    f()", "except (OSError, BaseException) as error:", "    g(error)"
            )
        },
    ),
    "an explanation further down": Wrong(
        "explained_boundaries",
        "core/x.py:5",
        {
            "core/x.py": function(
                "try:", "    f()", "except Exception:", "    g()", "    # Nothing is settled yet."
            )
        },
    ),
    "except Exception with words for the linter": Wrong(
        "explained_boundaries",
        "core/x.py:5",
        {
            "core/x.py": function(
                "try:", "    f()", "except Exception:  # noqa: BLE001, S110  # pragma: no cover", "    pass"
            )
        },
    ),
    "an equality": Wrong(
        "no_driver_names", "engine/x.py:3", {"engine/x.py": function("return value == 'redis'")}
    ),
    "a membership": Wrong(
        "no_driver_names",
        "bridge/x.py:3",
        {"bridge/x.py": function("return value in ('kafka', 'sqs')")},
    ),
    "a prefix": Wrong(
        "no_driver_names", "bridge/x.py:3", {"bridge/x.py": function("return value.startswith('sqlite://')")}
    ),
    "a match": Wrong(
        "no_driver_names",
        "cli.py:4",
        {"cli.py": function("match value:", "    case 'Memory':", "        return 1")},
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_tree_breaks_just_that_rule(wrong: Wrong, tmp_path: Path) -> None:
    assert all_violations(write_tree(tmp_path, wrong.files)) == {(wrong.rule, wrong.at)}


RIGHT = {
    "the sound tree itself": {},
    "arrows down": {
        "__init__.py": module("from celeriac.bridge.app import Celery"),
        "__main__.py": module("from celeriac.cli import main"),
        "cli.py": module("from celeriac.demo import shop", "from celeriac import __version__"),
        "demo/shop.py": module(
            "from celeriac import Celery", "import celeriac.bridge.app", "import celeriac.brokers"
        ),
        "bridge/app.py": module(
            "import celery", "from celeriac.engine import run", "import celeriac.executors"
        ),
        "engine/run.py": module("from celeriac.core.message import Message", "from .shard import Shard"),
        "engine/shard.py": DOC,
        "django/__init__.py": PLATE,
        "django/celery.py": module("from celeriac import Celery"),
        "testing/x.py": module("from celeriac.brokers.memory import MemoryBroker"),
    },
    "an optional library": {
        "brokers/x.py": function(
            "try:",
            "    import redis",
            "except ImportError:",
            "    raise MissingExtra('redis', 'redis') from None",
        )
    },
    "a file and a function just short enough": {
        "core/x.py": function(*["value += 1"] * 49),
        "core/y.py": DOC + "A = 1\n" * 399,
    },
    "explained boundaries": {
        "core/x.py": function("try:", "    f()", "except Exception:  # the message stays leased", "    g()"),
        "core/y.py": function(
            "try:", "    f()", "# The message has gone back to its queue.", "except BaseException:", "    g()"
        ),
        "core/w.py": function(
            "try:", "    f()", "except Exception:", "    # Nothing has been settled yet.", "    g()"
        ),
        "core/v.py": function(
            "try:", "    f()", "except Exception:  # noqa: BLE001 - the lease runs out", "    g()"
        ),
        "core/z.py": function("try:", "    f()", "except OSError:", "    g()"),
    },
    "brokers and the transport name themselves": {
        "brokers/x.py": function("return value == 'redis'"),
        "bridge/transport.py": function("return value.startswith('amqp')"),
        "bridge/x.py": function("return {'redis': 1}.get(value)"),
    },
}


@pytest.mark.parametrize("files", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_tree_breaks_no_rule(files: dict[str, str], tmp_path: Path) -> None:
    assert all_violations(write_tree(tmp_path, files)) == set()


def test_every_rule_has_a_tree_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG.values()} == {rule.__name__ for rule in RULES}
