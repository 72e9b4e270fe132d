"""What waits in a project's outbox is scraped, at a worker's own port and for the whole broker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac.bridge.tags import sent_at
from tests.django.conftest import empty
from tests.django.test_outbox_commands import Site
from tests.prometheus import Scraped, scraped_from
from tests.servers import free_port, wait_until

LABELS = {"database": "default"}


@pytest.fixture
def site(tmp_path: Path, project: Any) -> Iterator[Site]:
    yield Site(tmp_path, project)
    empty("default")


@pytest.fixture
def backlog(site: Site) -> None:
    """Three calls that are committed and could not leave, the oldest 90 seconds ago, and a dead one."""
    from django.utils import timezone

    from celeriac.django.models import DeadOutboxMessage, OutboxMessage

    site.produce(3)
    now = timezone.now()
    oldest = OutboxMessage.objects.order_by("id").values("id")[:1]
    OutboxMessage.objects.filter(id__in=list(oldest.values_list("id", flat=True))).update(
        created=now - timedelta(seconds=90)
    )
    DeadOutboxMessage.objects.create(
        task="ship", task_id="dead", queue="celery", payload=b"{}", created=now, died=now
    )


@pytest.mark.usefixtures("backlog")
def test_a_worker_tells_of_the_outbox_at_its_own_port(site: Site) -> None:
    port = free_port()
    site.environment |= {"METRICS_PORT": str(port), "RELAY_IN_WORKER": "0"}
    scraped = Scraped(port)
    with site.worker("-c", "1"):
        assert scraped.value("celeriac_outbox_pending", **LABELS) == 3
        assert 90 <= (scraped.value("celeriac_outbox_oldest_age_seconds", **LABELS) or 0) < 900
        assert scraped.value("celeriac_outbox_dead", **LABELS) == 1
        assert site.run("outbox", "relay", "--drain")[0] == 0
        wait_until(lambda: scraped.value("celeriac_outbox_pending", **LABELS) == 0, what="it empty")
        assert scraped.value("celeriac_outbox_oldest_age_seconds", **LABELS) == 0


@pytest.mark.usefixtures("backlog")
def test_a_call_in_the_outbox_says_when_it_was_made() -> None:
    from celeriac.django.models import OutboxMessage

    for row in OutboxMessage.objects.all():
        sent = sent_at(json.loads(bytes(row.payload))["properties"])
        assert sent is not None
        assert abs(sent - time.time()) < 900


@pytest.mark.usefixtures("backlog")
def test_the_exporter_tells_of_it(site: Site) -> None:
    code, text = site.run("metrics", "--once")
    assert code == 0, text
    found = scraped_from(text)
    assert found["celeriac_outbox_pending", (("database", "default"),)] == 3
    assert 90 <= found["celeriac_outbox_oldest_age_seconds", (("database", "default"),)] < 900
    assert found["celeriac_outbox_dead", (("database", "default"),)] == 1
    assert ("celeriac_outbox_pending", (("database", "other"),)) not in found


def test_what_cannot_be_asked_is_left_out(site: Site, project: Any, tmp_path: Path) -> None:
    from celeriac.bridge.django.backlogs import OutboxBacklogs
    from celeriac.django.tables import Tables
    from tests.django.conftest import database_in, sqlite_settings

    before = {found.database for found in OutboxBacklogs(Tables())()}
    assert before >= {"default", "other"}
    with database_in(project, "third", sqlite_settings(tmp_path / "third.db")):
        backlogs = OutboxBacklogs(Tables())
        assert {found.database for found in backlogs()} == before | {"third"}
        (tmp_path / "third.db").write_bytes(b"no database at all" * 1000)
        assert {found.database for found in backlogs()} == before
