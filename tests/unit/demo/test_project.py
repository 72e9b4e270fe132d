"""The project by itself: its commands, as one would type them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.brokers.connect import open_broker
from celeriac.demo.broker import file_url
from celeriac.demo.project import find_project

HEADER = (
    "number,created,service,sender_city,recipient_city,"
    "weight_grams,length_mm,width_mm,height_mm,declared_value\n"
)


class Project:
    """Runs the project's Django commands on files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "logistics.db"
        self.broker = file_url(folder / "broker.db")

    def manage(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(find_project() / "manage.py"), *map(str, arguments)],
            env={"LOGISTICS_DATABASE": str(self.database), "CELERY_BROKER_URL": self.broker},
            capture_output=True,
            text=True,
            check=False,
        )

    def count(self, query: str) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {query}").fetchone()[0])

    def waiting_tasks(self) -> int:
        with closing(open_broker(self.broker)) as broker:
            return broker.stats(["orders"])["orders"].ready


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    assert project.manage("migrate").returncode == 0
    return project


def test_the_migrations_are_those_of_the_models(project: Project) -> None:
    checked = project.manage("makemigrations", "--check", "--dry-run")
    assert checked.stdout == "No changes detected\n"
    assert checked.returncode == 0


def test_an_order_has_a_task_if_and_only_if_it_is_committed(project: Project) -> None:
    orders = find_project() / "data" / "orders.csv"
    first = project.manage("import_orders", orders, "--limit", 40, "--rollback-every", 20)
    assert (first.returncode, first.stdout) == (0, "40 orders: 38 saved, 2 rolled back\n")
    assert project.count("orders_order") == 38
    assert project.count("orders_ledgerentry WHERE what = 'rolled back'") == 2
    assert project.count("orders_ledgerentry") == 2
    assert project.waiting_tasks() == 38

    again = project.manage("import_orders", orders, "--limit", 20)
    assert again.returncode == 1
    assert again.stderr == "CommandError: rows left out: 19\n"
    assert "row 2: number 'LG-000001' was imported before\n" in again.stdout
    assert again.stdout.endswith("20 orders: 1 saved, 0 rolled back\n")
    assert project.waiting_tasks() == 39


def test_a_file_is_checked_before_the_first_order_is_saved(project: Project, tmp_path: Path) -> None:
    good = "LG-1,2026-03-01T09:30:00Z,express,Berlin,Wien,1200,300,200,100,249.90\n"
    orders = tmp_path / "orders.csv"
    orders.write_bytes((HEADER + good).encode() + b"\xff\n")
    refused = project.manage("import_orders", orders)
    assert refused.returncode == 2
    assert refused.stderr.endswith("save it as UTF-8\n")
    assert len(refused.stderr.splitlines()) == 1
    assert project.count("orders_order") == 0


def test_a_check_saves_nothing(project: Project) -> None:
    checked = project.manage("import_orders", find_project() / "data" / "orders.csv", "--check", "--json")
    assert checked.returncode == 0
    assert checked.stdout == '{"total": 10000, "saved": 0, "rolled_back": 0, "bad_rows": []}\n'
    assert project.count("orders_order") == 0
