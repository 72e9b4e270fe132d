"""What travels in place of an instance, and what is made of it, without a worker."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
from contextlib import suppress
from typing import Any

import celery
import pytest
from celery import shared_task
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections, models, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from celeriac.brokers.connect import open_broker
from celeriac.core.errors import ConfigurationError, MalformedReference, UnreferableObject
from celeriac.django.model_ref import ModelRef
from celeriac.django.models import OutboxMessage
from celeriac.django.references import reference, references_in, replaced
from celeriac.django.rows import read_rows
from celeriac.django.snapshot import from_snapshot
from tests.django.rows.celery import app
from tests.django.rows.shop import tasks
from tests.django.rows.shop.models import Customer, Late, Line, Note, Order, Product, Rush


@pytest.fixture
def order() -> Order:
    return Order.objects.create(customer=Customer.objects.create(name="Ada"))


def fresh(order: Order) -> Order:
    """The same row, with nothing read of other rows."""
    return Order.objects.get(pk=order.pk)


def published() -> list[dict[str, Any]]:
    """The messages that wait in the broker."""
    broker = open_broker(os.environ["BROKER"], {})
    leases = broker.claim(["celery"], 100, owner="test", lease_for=10).leases
    broker.ack(leases)
    broker.close()
    return [json.loads(lease.message.payload) for lease in leases]


# -- the wire form


def test_a_row_is_named_by_model_key_database_and_version(order: Order) -> None:
    assert json.loads(dumps(order)) == {
        "__type__": "dj.ref",
        "__value__": {"m": "shop.order", "pk": order.pk, "db": "default", "v": "i:1"},
    }


PARTS = st.integers(-(2**63), 2**63 - 1) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=255
)
VERSIONS = st.none() | st.from_regex(r"[ixd]:[0-9a-f]{1,32}", fullmatch=True)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    pk=st.integers(-(2**63), 2**63 - 1),
    version=VERSIONS,
    snapshot=st.none() | st.dictionaries(st.text(), PLAIN),
)
def test_what_is_written_is_read_again(pk: int, version: str | None, snapshot: Any) -> None:
    sent = ModelRef("shop.order", pk, "default", version, snapshot)
    found = loads(dumps([sent]))[0]
    assert found == sent
    assert (found.snapshot, hash(found), repr(found)) == (snapshot, hash(sent), f"<Order pk={pk}>")
    assert pickle.loads(pickle.dumps(sent)) == sent


@given(pk=st.uuids(), parts=st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_keys_that_are_no_numbers_are_read_again(pk: Any, parts: tuple[int, int]) -> None:
    sent = [ModelRef("shop.product", pk, "other"), ModelRef("shop.line", parts, "default")]
    assert loads(dumps(sent)) == sent


HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        "m": st.sampled_from(["shop.order", "shop.line", "shop.product", "os.system", "shop", ""]) | PLAIN,
        "pk": PARTS | st.lists(PARTS, max_size=3) | PLAIN | st.floats(),
        "db": st.sampled_from(["default", "other", "nowhere"]) | PLAIN,
        "v": VERSIONS | PLAIN,
        "s": PLAIN,
    },
)


@settings(max_examples=300)
@given(wire=HOSTILE | PLAIN)
def test_hostile_values_are_a_plain_error_or_a_reference_that_can_be_looked_up(wire: Any) -> None:
    queries = CaptureQueriesContext(connection)
    try:
        with queries:
            found = ModelRef.from_wire(wire)
    except MalformedReference:
        return
    finally:
        assert len(queries) == 0
    assert issubclass(found.model, models.Model)
    assert found.db in connections
    read_rows([found])
    if found.snapshot is not None:
        with suppress(MalformedReference):
            from_snapshot(found)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        ({"m": "os.system", "pk": 1, "db": "default"}, "no model here"),
        ({"m": "auth.user", "pk": 1, "db": "default"}, "forbidden here"),
        ({"m": "shop.order", "pk": 1, "db": "elsewhere"}, "none of DATABASES"),
        ({"m": "shop.order", "pk": "x", "db": "default"}, "no primary key"),
        ({"m": "shop.order", "pk": True, "db": "default"}, "no primary key"),
        ({"m": "shop.order", "pk": 1 << 70, "db": "default"}, "no primary key"),
        ({"m": "shop.order", "pk": {"a": 1}, "db": "default"}, "no primary key"),
        ({"m": "shop.line", "pk": [1], "db": "default"}, "no primary key"),
        ({"m": "shop.product", "pk": "\0", "db": "default"}, "no primary key"),
    ],
)
def test_what_names_no_row_here_is_not_decoded(wire: Any, why: str) -> None:
    with pytest.raises(MalformedReference, match=why):
        app.framework._references._read(wire)
    with pytest.raises(Exception, match=why):
        loads(json.dumps({"__type__": "dj.ref", "__value__": wire}))


# -- the call


@pytest.mark.parametrize("path", ["plain", "stock", "bulk", "signature"])
def test_no_call_path_reads_other_rows(order: Order, path: str) -> None:
    one = fresh(order)
    published()
    with CaptureQueriesContext(connection) as queries:
        if path == "plain":
            tasks.say.delay([one], named=one)
        elif path == "stock":
            tasks.say.apply_async(([one],), {"named": one}, countdown=0.001)
        elif path == "bulk":
            tasks.say.apply_many([((1,), {}), (([one],), {"named": one})])
        else:
            tasks.say.s([one], named=one).apply_async(link=tasks.say.s(one))
    assert not queries.captured_queries
    broker = open_broker(os.environ["BROKER"], {})
    broker.promote_due(2e9)
    headers = published()[-1]["headers"]
    assert headers["argsrepr"] in (f"([<Order pk={order.pk}>],)", f"[[<Order pk={order.pk}>]]")
    assert headers["kwargsrepr"] == f"{{'named': <Order pk={order.pk}>}}"


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_no_row_is_ever_pickled(order: Order, serializer: str) -> None:
    app.conf.accept_content = ["json", "pickle"]
    tasks.say.apply_async((order,), link=tasks.say.s(order), serializer=serializer)
    [envelope] = published()
    assert "django" not in str(envelope["body"])
    assert b"Ada" not in base64.b64decode(envelope["body"])


@pytest.mark.parametrize("path", ["plain", "stock", "bulk", "pickle"])
def test_an_instance_that_is_not_saved_is_refused_where_it_is_handed_over(path: str) -> None:
    unsaved = Product()  # it has a key already
    calls = {
        "plain": lambda: tasks.say.delay([unsaved]),
        "stock": lambda: tasks.say.apply_async(([unsaved],), countdown=1),
        "bulk": lambda: tasks.say.delay_many([(1,), (unsaved,)]),
        "pickle": lambda: tasks.say.apply_async((unsaved,), serializer="pickle"),
    }
    with pytest.raises(UnreferableObject, match="Product is not saved: save it before"):
        calls[path]()


def test_a_call_in_a_transaction_waits_in_the_outbox_as_a_reference(order: Order) -> None:
    published()
    with transaction.atomic():
        tasks.say.delay(order)
        [kept] = OutboxMessage.objects.all()
        transaction.set_rollback(True)
    body = base64.b64decode(json.loads(bytes(kept.payload))["body"])
    assert loads(body)[0] == [reference(order)]
    assert published() == []


def test_rows_of_forbidden_models_are_refused() -> None:
    user = User.objects.create(username="ada")
    with pytest.raises(UnreferableObject, match=r"rows of 'auth.user' are not handed to tasks"):
        tasks.say.delay(user)
    with pytest.raises(UnreferableObject, match=r"rows of 'auth.user' are not handed to tasks"):
        tasks.say.delay(reference(user))
    tasks.say.delay(ContentType.objects.first())


def test_a_deleted_instance_is_refused(order: Order) -> None:
    order.delete()
    with pytest.raises(UnreferableObject, match="not saved"):
        reference(order)


@pytest.mark.parametrize("option", ["on_missing", "stale", "lock"])
def test_a_misspelt_option_is_an_error_where_it_is_declared(option: str) -> None:
    def misspelt() -> None: ...

    app.finalize()
    with pytest.raises(ConfigurationError, match=f"{option}='rais'"):
        app.task(name=f"misspelt.{option}", **{option: "rais"})(misspelt)


def test_a_coroutine_cannot_lock_rows() -> None:
    app.finalize()
    with pytest.raises(ConfigurationError, match="a coroutine cannot hold the lock of a row"):
        app.task(lock="update")(asyncio.sleep)


# -- rows


def test_all_rows_of_a_model_and_database_are_read_by_one_query(order: Order) -> None:
    rush, product = Rush.objects.create(), Product.objects.create()
    line = Line.objects.create(order=order, number=1)
    late = Late.objects.get(pk=order.pk)
    many = [
        order,
        Order.objects.create(),
        line,
        Line.objects.create(order=order, number=2),
        rush,
        product,
        late,
    ]
    references = [reference(one) for one in many]
    with CaptureQueriesContext(connection) as queries:
        rows = read_rows(references)
    assert [rows[one] for one in references] == many
    assert [type(rows[one]) for one in references] == [type(one) for one in many]
    assert len(queries) == 5


def test_rows_that_a_default_manager_hides_are_found() -> None:
    note = Note.objects.create(text="x", deleted=True)
    assert read_rows([reference(note)]) == {reference(note): note}


def test_a_snapshot_is_made_and_read_without_looking_at_other_rows(order: Order) -> None:
    rush = Rush.objects.create(customer=order.customer, courier="Bo", total="1.50", tags=["a"])
    rush = Rush.objects.get(pk=rush.pk)
    with CaptureQueriesContext(connection) as queries:
        found = from_snapshot(loads(dumps(reference(rush, snapshot=True))))
    assert not queries.captured_queries
    assert isinstance(found, Rush)
    assert found._state.adding
    for field in Rush._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(rush, field.attname)


def test_a_snapshot_of_another_version_of_the_model_is_read_as_far_as_it_goes(order: Order) -> None:
    wire = reference(order, snapshot=True).wire()
    wire["s"] = {"gone": 1, "status": "old", "lines": [1], "customer": ["natural", "key"]}
    found = from_snapshot(ModelRef.from_wire(wire))
    assert isinstance(found, Order)
    assert (found.status, found.customer_id, found.total) == ("old", None, 0)


# -- arguments


def test_arguments_without_instances_stay_the_same_object() -> None:
    value = ([1, {"a": (2, "b")}], {"c": None})
    assert replaced(value, lambda one: one) is value
    assert list(references_in(value)) == []


def test_references_that_wait_in_a_signature_are_left_alone(order: Order) -> None:
    waiting = loads(dumps(tasks.say.s(order)))
    assert list(references_in([waiting, reference(order)])) == [reference(order)]


def test_a_task_that_runs_eagerly_is_given_rows(order: Order) -> None:
    app.conf.task_always_eager = True
    try:
        assert tasks.say.delay([order]).get() == [[[["Order", order.pk]]], {}]
    finally:
        app.conf.task_always_eager = False
    assert tasks.say.apply((order,)).get() == [[["Order", order.pk]], {}]
    assert tasks.say(order) == [[["Order", order.pk]], {}]


def test_a_task_with_a_class_of_its_own_is_given_rows(order: Order) -> None:
    called = []

    class Counting(celery.Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            called.append(args)
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting, bind=True)
    def own(self: Any, order: Any) -> Any:
        return tasks.said(order)

    assert own.apply((loads(dumps(order)),)).get() == ["Order", order.pk]
    assert called == [(order,)]


@shared_task(bind=True)
def identified(self: Any, *_: Any) -> Any:
    return self.request.id


def test_the_request_is_the_same_with_and_without_rows(order: Order) -> None:
    for argument in (1, loads(dumps(order))):
        assert identified.apply((argument,), task_id="one").get() == "one"
