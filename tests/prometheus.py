"""Prometheus as Debian has it, in a process of its own, and what a scrape says."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from tests.servers import free_port, require, wait_until

INSTALL = "apt-get install prometheus"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped_from(text: str) -> Samples:
    """Every sample of the text by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def get(url: str) -> tuple[int, str]:
    """The status and the body of the answer; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, ConnectionError):
        return 0, ""


class Scraped:
    """What one address answers."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.port}{path}")

    def samples(self) -> Samples:
        """Every sample by name and sorted labels."""
        return scraped_from(self.get("/metrics")[1])

    def value(self, name: str, /, **labels: str) -> float | None:
        """The sample with these labels and no other."""
        return self.samples().get((name, tuple(sorted(labels.items()))))


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        status, body = get(f"{self.url}/api/v1/{path}?{urlencode(query)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), body
        return answer["data"]

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """What the expression comes to now, by sorted labels."""
        return {
            tuple(sorted(found["metric"].items())): float(found["value"][1])
            for found in self.ask("query", query=expression)["result"]
        }


@contextmanager
def prometheus(folder: Path, ports: Sequence[int], rules: str = "") -> Iterator[Prometheus]:
    """A Prometheus that scrapes these ports twice a second, for the time of the block."""
    program = require("prometheus", INSTALL)
    port = free_port()
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {
                    "scrape_interval": "500ms",
                    "scrape_timeout": "500ms",
                    "evaluation_interval": "1s",
                },
                "rule_files": [str(folder / "rules.yml")] if rules else [],
                "scrape_configs": [
                    {
                        "job_name": "celeriac",
                        "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in ports]}],
                    }
                ],
            }
        )
    )
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ready = f"http://127.0.0.1:{port}/-/ready"
        wait_until(lambda: get(ready)[0] == 200 or process.poll() is not None, what="prometheus")
        assert process.poll() is None, log.read_text()
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait()
