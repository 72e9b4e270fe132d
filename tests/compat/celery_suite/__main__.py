"""``python -m tests.compat.celery_suite``: run the suite every way, and write down what became of it."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.compat.celery_suite.runs import RUNS, WHOLE, Run, run_suite
from tests.compat.celery_suite.sources import ROOT
from tests.compat.celery_suite.table import page

JSON = ROOT / "benchmarks" / "results" / "celery-suite.json"
PAGE = ROOT / "docs" / "celery-suite.md"
#: What the page says of figures that were not all measured by one command.
_SEVERAL_TIMES = "The columns were not measured by one command, nor at one time."


def main() -> None:
    """Bring results and page up to date with the runs that were asked for, keeping the others."""
    options = _options()
    results = json.loads(JSON.read_text()) if JSON.exists() else {"runs": {}}
    results["versions"] = _versions()
    results["note"] = "Each column is one run." if set(options.runs) == set(RUNS) else _SEVERAL_TIMES
    with tempfile.TemporaryDirectory(prefix="celery-suite-") as folder:
        for name in options.runs:
            results["runs"][name] = _measure(RUNS[name], Path(options.logs or folder), options)
            JSON.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(page(results))
    print(f"{PAGE.relative_to(ROOT)} and {JSON.relative_to(ROOT)} are written")  # noqa: T201


def _measure(run: Run, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    print(f"{run.title} ...", flush=True)  # noqa: T201
    started = time.monotonic()
    tests = run_suite(run, folder / f"{run.name}.json", tuple(options.tests))
    seconds = round(time.monotonic() - started)
    failed = [test for test, told in tests.items() if told["outcome"] == "failed"]
    passes: Counter[str] = Counter()
    for number in range(options.again if failed else 0):
        told = run_suite(run, folder / f"{run.name}-again-{number}.json", failed)
        passes.update(test for test in failed if told.get(test, {}).get("outcome") == "passed")
    for test in failed:
        tests[test]["again"] = (passes[test], options.again + 1)
    counts = Counter(told["outcome"] for told in tests.values())
    print(f"  {dict(counts)} in {seconds} s", flush=True)  # noqa: T201
    return {"title": run.title, "seconds": seconds, "tests": tests}


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    return f"Python {platform.python_version()}, {packages}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="celery-suite", description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="which of the runs")
    parser.add_argument("--again", type=int, default=2, help="how often tests that failed are run again")
    parser.add_argument("--logs", help="a folder in which the output is kept")
    parser.add_argument("--tests", nargs="+", default=WHOLE, help="tests of the suite, for pytest")
    return parser.parse_args()


if __name__ == "__main__":
    main()
