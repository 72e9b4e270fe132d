"""`python -m tests.packages.suites`: the packages' own tests, on Celery and on Celeriac.

They come with the source distributions and need more than the lock file holds: this is no part of the tests.
"""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.workers import ROOT

#: What these tests need beside the package itself.
TOOLS = ("ephem", "fakeredis", "opentelemetry-test-utils", "pytest<9", "pytest-django<5", "pytest-timeout")


@dataclass(frozen=True)
class Suite:
    package: str
    tests: str
    settings: str = ""


SUITES = (
    Suite("django-celery-results", "t/unit", "t.proj.settings"),
    Suite("django-celery-beat", "t/unit", "t.proj.settings"),
    Suite("celery-redbeat", "tests"),
    Suite("opentelemetry-instrumentation-celery", "tests"),
)


def main() -> int:
    """Return 0 if all the suites end on Celeriac as they end on Celery."""
    same = True
    with tempfile.TemporaryDirectory(prefix="celeriac-suites-") as name:
        folder = Path(name)
        python = environment(folder / "venv")
        for suite in SUITES:
            place = unpack(suite.package, folder)
            stock, ours = run(python, suite, place), run(python, suite, place, "-p", "celeriac_apps")
            same = same and stock == ours
            say(f"{suite.package} {version(suite.package)}")
            say(f"  Celery    {figures(stock)}")
            say(f"  Celeriac  {figures(ours)}{'' if stock == ours else '  <-- differs'}")
            for test in sorted(stock ^ ours):
                say(f"    {test}")
    return 0 if same else 1


def environment(folder: Path) -> Path:
    """Return the Python of a new virtual environment that has this one's packages, and the tools."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip(python, "install", *TOOLS)
    libraries = next((folder / "lib").glob("python*/site-packages"))
    paths = [*site.getsitepackages(), str(ROOT / "src")]
    (libraries / "zz_outer.pth").write_text("\n".join(paths) + "\n")
    return python


def unpack(package: str, folder: Path) -> Path:
    """Return the folder of the installed version's sources."""
    name = f"{package}=={version(package)}"
    pip(Path(sys.executable), "download", "--no-deps", "--no-binary", package, "-d", str(folder), name)
    [archive] = folder.glob(f"{package.replace('-', '_')}-*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def pip(python: Path, *arguments: str) -> None:
    """pip has done this, or the program ends."""
    subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments], check=True)


def run(python: Path, suite: Suite, place: Path, *options: str) -> frozenset[str]:
    """Return how each of the tests has ended."""
    path = os.pathsep.join([str(ROOT / "tests" / "packages"), str(place)])
    quietly = ["-v", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    done = subprocess.run(
        [python, "-m", "pytest", *quietly, *options, suite.tests],
        cwd=place,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": suite.settings, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    ends = re.findall(r"^(\S+::.+?) (PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)\b", done.stdout, re.MULTILINE)
    if not ends:
        raise SystemExit(f"the tests of {suite.package} did not run:\n{done.stdout}{done.stderr}")
    return frozenset(f"{test} {end}" for test, end in ends)


def figures(ends: frozenset[str]) -> str:
    """Say how many tests have ended in which way."""
    count = Counter(line.rpartition(" ")[2].lower() for line in ends)
    return ", ".join(f"{number} {end}" for end, number in count.most_common())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
