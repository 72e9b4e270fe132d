"""The pages of Django's admin: who sees what, and what the actions do."""

from __future__ import annotations

import os
import re
import tempfile
from io import StringIO
from typing import Any

from celery import current_app
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone
from parcels import jobs
from parcels.tasks import send

from celeriac.bridge.django.project_app import project_app
from celeriac.brokers.connect import open_broker
from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from celeriac.django.models import DeadOutboxMessage, InboxEntry, OutboxMessage, TaskRecord
from celeriac.django.test import TasksMixin

LISTS = ("outboxmessage", "deadoutboxmessage", "inboxentry", "taskrecord")
FAILED = TaskRecord.Status.FAILED


def dead_message(**changes: Any) -> DeadOutboxMessage:
    values = {
        "task_id": "id-1",
        "task": send.name,
        "queue": "celery",
        "payload": b"\x00bytes",
        "priority": 3,
        "ordering_key": "parcel-7",
        "attempts": 5,
        "error": "refused",
        "created": timezone.now(),
        "died": timezone.now(),
    }
    return DeadOutboxMessage.objects.create(**values | changes)


class AdminCase(TasksMixin, TestCase):
    def setUp(self) -> None:
        self.login("root", is_superuser=True)

    def login(self, name: str, *permissions: str, is_superuser: bool = False) -> None:
        user = User.objects.create(username=name, is_staff=True, is_superuser=is_superuser)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client.force_login(user)

    def text(self, path: str, **query: str) -> str:
        response = self.client.get(f"/admin/celeriac/{path}/", query)
        assert response.status_code == 200, response
        return response.content.decode()

    def act(self, path: str, action: str, *ids: Any) -> str:
        data = {"action": action, "_selected_action": ids}
        response = self.client.post(f"/admin/celeriac/{path}/", data, follow=True)
        assert response.status_code == 200
        return response.content.decode()

    def payload(self, **options: Any) -> bytes:
        """The message of such a call."""
        current_app.send_task(send.name, **options)
        self.tasks._commit()
        return self.tasks._waiting[-1].message.payload


class Pages(AdminCase):
    def test_every_table_has_a_page_that_changes_nothing(self) -> None:
        InboxEntry.objects.create(consumer="charge", key="order-7", created=timezone.now())
        dead_message()
        for page in LISTS:
            self.text(page)
            assert self.client.get(f"/admin/celeriac/{page}/add/").status_code == 403
        assert "order-7" in self.text("inboxentry", q="order")
        assert "order-7" not in self.text("inboxentry", q="nothing like it")
        row = InboxEntry.objects.get()
        assert "charge" in self.text(f"inboxentry/{row.pk}/change")
        assert self.client.post(f"/admin/celeriac/inboxentry/{row.pk}/change/", {}).status_code == 403
        assert self.client.post(f"/admin/celeriac/inboxentry/{row.pk}/delete/", {}).status_code == 403

    def test_nobody_sees_a_table_without_the_permission(self) -> None:
        self.login("clerk", "view_taskrecord")
        self.text("taskrecord")
        assert self.client.get("/admin/celeriac/outboxmessage/").status_code == 403

    def test_a_failed_task_runs_again(self) -> None:
        result = jobs.sometimes.enqueue("no")
        self.drain(raises=False)
        record = TaskRecord.objects.get()
        assert record.status == FAILED
        assert "ConnectionError" in self.text("taskrecord", status="FAILED")
        assert "Traceback" in self.text(f"taskrecord/{record.pk}/change")
        TaskRecord.objects.update(args=["yes"])
        assert "1 failed task runs again." in self.act("taskrecord", "retry", record.pk)
        result.refresh()
        assert (str(result.status), result.finished_at) == ("READY", None)
        self.drain()
        result.refresh()
        assert (result.return_value, result.attempts, len(result.errors)) == ("yes", 2, 1)

    def test_a_task_that_has_not_failed_is_left_alone(self) -> None:
        jobs.weigh.enqueue(1)
        self.drain()
        assert "0 failed tasks run again." in self.act("taskrecord", "retry", TaskRecord.objects.get().pk)
        assert self.drain() == []

    def test_running_again_needs_a_permission_of_its_own(self) -> None:
        jobs.sometimes.enqueue("no")
        self.drain(raises=False)
        record = TaskRecord.objects.get()
        self.login("clerk", "view_taskrecord")
        assert "Run the selected failed tasks again" not in self.text("taskrecord")
        self.act("taskrecord", "retry", record.pk)
        record.refresh_from_db()
        assert record.status == FAILED
        self.login("operator", "view_taskrecord", "retry_taskrecord")
        self.act("taskrecord", "retry", record.pk)
        record.refresh_from_db()
        assert record.status == TaskRecord.Status.READY

    def test_a_dead_message_goes_back_into_the_outbox_byte_for_byte(self) -> None:
        dead = dead_message()
        self.login("clerk", "view_deadoutboxmessage")
        self.act("deadoutboxmessage", "replay", dead.pk)
        assert OutboxMessage.objects.count() == 0
        self.login("operator", "view_deadoutboxmessage", "replay_deadoutboxmessage")
        assert "1 message is in the outbox again." in self.act("deadoutboxmessage", "replay", dead.pk)
        assert DeadOutboxMessage.objects.count() == 0
        message = OutboxMessage.objects.get()
        assert bytes(message.payload) == b"\x00bytes"
        assert (message.task_id, message.priority, message.ordering_key) == ("id-1", 3, "parcel-7")
        assert (message.attempts, message.error) == (0, "")

    def test_secrets_among_the_arguments_are_not_shown(self) -> None:
        jobs.login.enqueue("anna", {"token": "t0k3n", "depth": 1}, password="s3cr3t")
        page = self.text("taskrecord")
        assert "anna" in page
        assert "depth" in page
        assert "s3cr3t" not in page
        assert "t0k3n" not in page

    def test_arguments_of_chosen_tasks_are_not_shown(self) -> None:
        jobs.sometimes.enqueue("no 4711")
        self.drain(raises=False)
        record = TaskRecord.objects.get()
        pages = ("taskrecord", f"taskrecord/{record.pk}/change")
        assert all("4711" in self.text(page) for page in pages)
        conf = project_app().conf
        conf.admin_hide_arguments = ["parcels.jobs.*"]
        try:
            assert not any("4711" in self.text(page) for page in pages)
        finally:
            conf.admin_hide_arguments = []

    def test_messages_show_their_arguments_as_their_producer_chose(self) -> None:
        for options in ({"args": (4711,)}, {"args": (4712,), "argsrepr": "(one parcel)"}):
            payload = self.payload(**options)
            OutboxMessage.objects.create(
                task_id="x", task=send.name, queue="celery", payload=payload, created=timezone.now()
            )
        page = self.text("outboxmessage")
        assert "(4711,)" in page
        assert "(one parcel)" in page
        assert "4712" not in page

    def test_secrets_in_messages_are_not_shown(self) -> None:
        payload = self.payload(kwargs={"parcel": 4711, "api_key": "s3cr3t"})
        OutboxMessage.objects.create(
            task_id="x", task=send.name, queue="celery", payload=payload, created=timezone.now()
        )
        page = self.text("outboxmessage")
        assert send.name in page
        assert "s3cr3t" not in page


class LettersOfTheBroker(AdminCase):
    """In a broker of its own, as the project's must have none in tests."""

    def setUp(self) -> None:
        super().setUp()
        self.url = f"sqlite:///{tempfile.mkdtemp(dir=os.environ['FOLDER'])}/letters.db"
        project_app().conf.broker_read_url = self.url

    def tearDown(self) -> None:
        project_app().conf.broker_read_url = None

    def letters(self, *reasons: str) -> list[DeadLetter]:
        """The broker has put aside messages of these calls, for these reasons."""
        broker = open_broker(self.url)
        broker.send(
            [Message(queue="celery", payload=self.payload(args=(reason, 4711))) for reason in reasons]
        )
        leases = broker.claim(["celery"], 100, owner="worker", lease_for=60).leases
        broker.bury([(lease, reason) for lease, reason in zip(leases, reasons, strict=True)])
        found = list(broker.dead_letters())
        broker.close()
        return found

    def deal(self, deed: str, *ids: str) -> Any:
        return self.client.post("/admin/celeriac/deadletter/", {"deed": deed, "id": ids}, follow=True)

    def left(self) -> tuple[int, int]:
        """How many letters are dead, and how many messages are in the queue."""
        broker = open_broker(self.url)
        found = len(broker.dead_letters()), broker.stats(["celery"])["celery"].ready
        broker.close()
        return found

    def test_dead_letters_of_the_broker_are_put_back_and_dropped(self) -> None:
        letters = self.letters("out of memory", "time limit", "<b>worse</b>")
        page = self.text("deadletter")
        assert "out of memory" in page
        assert "&lt;b&gt;worse&lt;/b&gt;" in page
        assert send.name in page
        assert "4711" in page
        assert "/admin/celeriac/deadletter/" in self.client.get("/admin/").content.decode()
        assert "1 letter is in its queue again." in self.deal("retry", letters[0].id).content.decode()
        assert self.left() == (2, 1)
        ids = [letter.id for letter in letters[1:]]
        assert "2 letters were dropped." in self.deal("drop", *ids).content.decode()
        assert self.left() == (0, 1)
        assert "0 letters were dropped." in self.deal("drop", *ids).content.decode()
        assert "No dead letters." in self.text("deadletter")

    def test_dead_letters_come_in_pages(self) -> None:
        self.letters(*(f"reason {number}." for number in range(60)))
        first, second = self.text("deadletter"), self.text("deadletter", offset="50")
        shown = [len(re.findall(r"reason \d+\.</td>", page)) for page in (first, second)]
        assert shown == [50, 10]
        assert "?offset=50" in first
        assert "?offset=0" in second
        assert self.text("deadletter", offset="nonsense").count("reason ") == first.count("reason ")

    def test_dead_letters_need_permissions_of_their_own(self) -> None:
        [letter] = self.letters("time limit")
        self.login("clerk", "view_taskrecord")
        assert self.client.get("/admin/celeriac/deadletter/").status_code == 403
        assert self.deal("drop", letter.id).status_code == 403
        self.login("reader", "view_deadletter")
        page = self.text("deadletter")
        assert "time limit" in page
        assert "<button" not in page.split("result_list")[0].split("changelist-form")[1]
        for deed in ("retry", "drop", "other"):
            assert self.deal(deed, letter.id).status_code == 403
        self.login("operator", "view_deadletter", "retry_deadletter")
        assert self.deal("drop", letter.id).status_code == 403
        assert self.left() == (1, 0)
        assert self.deal("retry", letter.id).status_code == 200
        assert self.left() == (0, 1)

    def test_a_broker_without_dead_letters_says_so(self) -> None:
        project_app().conf.broker_read_url = "amqp://queue.example//"
        assert "not one of Celeriac&#x27;s" in self.text("deadletter")

    def test_the_database_knows_no_dead_letters(self) -> None:
        self.letters("time limit")
        out = StringIO()
        call_command("dumpdata", "celeriac", "--all", stdout=out)
        assert out.getvalue().strip() == "[]"
