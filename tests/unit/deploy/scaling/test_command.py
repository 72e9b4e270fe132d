"""The command ``celeriac scale``."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from celeriac.cli import celery_command
from celeriac.deploy.scaling.lineup import LINEUP, tune
from celeriac.deploy.scaling.load import Load
from celeriac.deploy.scaling.shapes import SHAPES, generate
from celeriac.deploy.scaling.simulation import Conditions

FIGURES = {
    *("utilisation", "within_objective", "wait_p50", "wait_p99", "pod_hours", "scale_events_per_day"),
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(celery_command, ["scale", "simulate", *arguments])


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Six hours with a rise in the second half, a point a minute, as some write it."""
    file = tmp_path / "load.csv.gz"
    rows = "".join(
        f"2026-01-01 {minute // 60:02}:{minute % 60:02}:00,{5 + minute // 60}\n" for minute in range(360)
    )
    with gzip.open(file, "wt") as out:
        out.write("timestamp,value\n" + rows)
    return file


def simulate(trace: Path, policy: str, *more: str) -> dict[str, float]:
    result = run("--trace", str(trace), "--policy", policy, "--service-time", "5", "--json", *more)
    assert result.exit_code == 0, result.output
    figures: dict[str, float] = json.loads(result.output)
    return figures


def test_every_policy_named_by_list_can_be_simulated(trace: Path) -> None:
    named = json.loads(run("--policy", "list", "--json").output)
    assert set(named) == set(LINEUP)
    for policy in named:
        figures = simulate(trace, policy)
        assert set(figures) >= FIGURES
        assert 0 < figures["utilisation"] <= 1
        assert 0 <= figures["within_objective"] <= 1
        assert figures["pod_hours"] > 0


def test_the_queue_metric_of_a_platform_team_leaves_tasks_waiting(trace: Path) -> None:
    """A thousand tasks a pod, ``AverageValue`` 1000: nothing grows before a thousand wait."""
    queue, ours = simulate(trace, "hpa-queue"), simulate(trace, "celeriac")
    assert queue["within_objective"] < 0.5 < 0.99 < ours["within_objective"]


def test_the_same_seed_gives_the_same_figures(trace: Path) -> None:
    assert simulate(trace, "keda", "--seed", "7") == simulate(trace, "keda", "--seed", "7")
    assert simulate(trace, "keda", "--seed", "7") != simulate(trace, "keda", "--seed", "8")


def test_explaining_tells_every_change_with_its_reason_and_draws_it(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "why.svg"
    arguments = ["scale", "explain", "--trace", str(trace), "--service-time", "5", "--hours", "3"]
    result = CliRunner().invoke(celery_command, [*arguments, "--picture", str(picture), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told
    assert all(change["pods"] != change["pods_before"] and change["reason"] for change in told)
    assert len(told) == pytest.approx(simulate(trace, "celeriac")["scale_events_per_day"] / 8, abs=1)
    words = ElementTree.parse(picture).getroot().itertext()
    assert {"slots asked for", "forecast, median to quantile"} <= {word.strip() for word in words}
    assert "why pods came and went" in CliRunner().invoke(celery_command, arguments).output


@pytest.mark.parametrize("name", SHAPES)
def test_generated_loads_keep_as_many_slots_busy_as_was_asked_for(name: str) -> None:
    shape, bursts = generate(name, days=2, seed=1)
    load = Load.scaled(shape, bursts, mean_load=24, service_time=2)
    assert load.demand().mean() * 2 == pytest.approx(24, rel=0.02)


def test_tuning_takes_the_cheapest_setting_that_meets_the_goal_in_the_first_half() -> None:
    shape, bursts = generate("smooth", days=1, seed=1)
    load = Load.scaled(shape, bursts, mean_load=24, service_time=30)
    options, tried = tune("static-peak", load, Conditions(service_time=30.0), goal=0.99)
    meeting = [trial for trial in tried if trial[1].within_objective >= 0.99]
    assert options == min(meeting, key=lambda trial: trial[1].pod_hours)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "kedda", "--trace", "smooth"], "did you mean 'keda'"),
        (["--policy", "keda", "--trace", "smooth", "--set", "taget=1"], "did you mean 'target'"),
        (["--policy", "keda", "--set", "target"], "NAME=NUMBER"),
        (["--policy", "keda"], "--trace FILE"),
        (["--trace", "nowhere.csv"], "cannot be read"),
    ],
)
def test_a_mistake_takes_one_line(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "letters.csv"
    file.write_text("time,value\nnoon,many\n")
    result = run("--trace", str(file))
    assert result.exit_code == 2
    assert "no trace of two columns" in result.output


def test_without_numpy_the_command_names_the_extra_and_the_others_work() -> None:
    program = "import sys; sys.modules['numpy'] = None; from celeriac.cli import main; main()"
    outcomes = [
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        for words in (["scale", "simulate", "--trace", "beat"], ["--help"])
    ]
    assert [outcome.returncode for outcome in outcomes] == [2, 0]
    assert "pip install 'celeriac[scale]'" in outcomes[0].stderr
    assert "Traceback" not in outcomes[0].stderr
