"""Rows of which no save overwrites a newer one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F
from django.forms import modelform_factory
from django.test import Client
from django.test.utils import CaptureQueriesContext

from celeriac.core.errors import ConfigurationError, StaleObject
from celeriac.django.row_digest import RowDigest
from celeriac.django.row_version import version_of
from celeriac.django.versioned import Versioned
from tests.django.rows.shop import models as shop
from tests.django.rows.shop.models import Customer, Late, Order, Product, Rush

POSTGRES = connection.vendor == "postgresql"
#: The models whose saves compare.
VERSIONED: list[Any] = [Order, Rush, Late, *([shop.Legacy] if POSTGRES else [])]


def two_copies(model: Any) -> tuple[Any, Any]:
    pk = model.objects.create().pk
    return model.objects.get(pk=pk), model.objects.get(pk=pk)


@pytest.mark.parametrize("model", VERSIONED)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("how", ["save", "update_fields", "compare_and_save", "force_update"])
def test_of_two_copies_the_second_to_be_saved_is_stale_and_changes_nothing(
    model: Any, how: str, inside: bool
) -> None:
    first, second = two_copies(model)
    save = {
        "save": lambda one: one.save(),
        "update_fields": lambda one: one.save(update_fields=["status"]),
        "compare_and_save": lambda one: one.compare_and_save(fields=["status"]),
        "force_update": lambda one: one.compare_and_save(),
    }[how]
    first.status, second.status = "first", "second"
    expected = version_of(second)

    def compete() -> None:
        save(first)
        first.status = "first again"
        save(first)
        with pytest.raises(StaleObject) as error:
            save(second)
        found = error.value
        assert (found.model, found.pk) == (model._meta.label, first.pk)
        assert (found.expected, found.found) == (expected, version_of(first))

    if inside:
        with transaction.atomic():
            compete()
            assert model.objects.count() == 1  # the transaction goes on
    else:
        compete()
    stored = model.objects.get()
    assert stored.status == "first again"
    assert version_of(stored) == version_of(first) != expected
    save(second.refresh())


def test_a_saved_instance_is_at_its_rows_version_without_reading_it() -> None:
    order = Order.objects.create()
    with CaptureQueriesContext(connection) as queries:
        order.save()
        order.save()
    assert (len(queries), order.version) == (2, 3)
    assert Order.objects.get().version == 3


@pytest.mark.parametrize("model", VERSIONED)
def test_a_row_that_is_gone_is_not_made_again(model: Any) -> None:
    first, second = two_copies(model)
    first.delete()
    with pytest.raises(StaleObject) as error:
        second.save()
    assert error.value.found is None
    assert not model.objects.exists()


@pytest.mark.parametrize("model", VERSIONED)
def test_what_was_never_read_overwrites_nothing(model: Any) -> None:
    stored = model.objects.create(status="stored")
    with pytest.raises(IntegrityError):
        model(pk=stored.pk, status="blind").save()
    with pytest.raises(ValueError, match="nothing to compare"):
        model(pk=stored.pk).compare_and_save()
    assert model.objects.get().status == "stored"


def test_a_child_whose_parent_has_changed_writes_neither_table() -> None:
    first, second = two_copies(Rush)
    first.save()
    second.courier, second.status = "Bo", "changed"
    with pytest.raises(StaleObject):
        second.save()
    stored = Rush.objects.get()
    assert (stored.courier, stored.status) == ("", "new")
    parent = Order.objects.get()
    parent.save()
    with pytest.raises(StaleObject):
        first.save()


def test_a_transaction_that_was_broken_before_stays_so() -> None:
    order = Order.objects.create()
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            order.save()
        assert transaction.get_rollback()


def test_updates_of_many_rows_compare_nothing_and_can_count() -> None:
    order, other = two_copies(Order)
    Order.objects.update(status="all", version=F("version") + 1)
    with pytest.raises(StaleObject):
        order.save()
    other.refresh()
    other.status = "bulk"
    Order.objects.bulk_update([other], ["status"])
    assert Order.objects.get().version == other.version


def test_fixtures_are_written_as_they_are(tmp_path: Any) -> None:
    order = Order.objects.create(status="as it was")
    fixture = tmp_path / "orders.json"
    call_command("dumpdata", "shop.order", output=str(fixture), verbosity=0)
    order.save()
    call_command("loaddata", str(fixture), verbosity=0)
    assert Order.objects.get().version == 1
    order.delete()
    call_command("loaddata", str(fixture), verbosity=0)
    assert Order.objects.get().status == "as it was"


def test_other_ways_to_save_still_work() -> None:
    order, made = Order.objects.update_or_create(status="new", defaults={"status": "paid"})
    assert made
    order, made = Order.objects.update_or_create(pk=order.pk, defaults={"status": "sent"})
    assert (made, order.version) == (False, 2)
    partly = Order.objects.only("status").get()
    partly.status = "partly"
    partly.save()
    assert Order.objects.get().version == 3
    Order.objects.bulk_create([Order(), Order()])
    assert [one.version for one in Order.objects.all()] == [3, 1, 1]


def test_a_model_without_a_comparable_version_says_so() -> None:
    class Unversioned(Versioned):
        class Meta:
            app_label = "elsewhere"
            managed = False

    with pytest.raises(ConfigurationError, match="give it a VersionField or an XminField"):
        Unversioned(pk=1).save()


def test_a_version_field_that_nothing_increases_is_found_by_checks() -> None:
    class Plain(models.Model):
        version = shop.VersionField()

        class Meta:
            app_label = "elsewhere"

    assert [one.id for one in Plain.check()] == ["celeriac.W101"]
    assert not [one for one in Order.check() if str(one.id).startswith("celeriac")]


# -- tables that cannot change


def test_a_digest_tells_whether_a_row_has_changed() -> None:
    product = Product.objects.create(stock=1)
    before = version_of(product)
    Product.objects.update(stock=2)
    assert version_of(Product.objects.get()) != before
    Product.objects.update(stock=1)
    assert version_of(Product.objects.get()) == before


def test_a_model_of_somebody_else_can_be_given_a_digest() -> None:
    class Theirs(models.Model):
        name = models.CharField(max_length=9)

        class Meta:
            app_label = "elsewhere"
            db_table = Customer._meta.db_table
            managed = False

    customer = Theirs.objects.create(name="Ada")
    assert version_of(customer) is None
    Theirs.add_to_class("row_version", RowDigest())
    before = version_of(customer)
    customer.name = "Bo"
    assert before != version_of(customer)
    Theirs.add_to_class("row_version", RowDigest(fields=("nmae",)))
    with pytest.raises(ConfigurationError, match="no field 'nmae'; did you mean 'name'"):
        version_of(customer)


@pytest.mark.skipif(not POSTGRES, reason="xmin is PostgreSQL's")
def test_xmin_sees_every_change_whoever_makes_it() -> None:
    row = shop.Legacy.objects.create()
    before = version_of(row)
    assert before == version_of(shop.Legacy.objects.get())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_legacy SET status = 'sql'")
    assert version_of(shop.Legacy.objects.get()) != before
    with pytest.raises(StaleObject):
        row.save()
    [field] = [one for one in shop.Legacy._meta.fields if one.name == "row_version"]
    assert field.db_type(connection) is None
    columns = {
        one.name for one in connection.introspection.get_table_description(connection.cursor(), "shop_legacy")
    }
    assert columns == {"id", "status"}


@pytest.mark.skipif(POSTGRES, reason="xmin is PostgreSQL's")
def test_xmin_elsewhere_is_found_by_checks() -> None:
    class Legacy(models.Model):
        row_version = shop.XminField()

        class Meta:
            app_label = "elsewhere"

    assert [one.id for one in Legacy.check(databases=["default"])] == ["celeriac.E102"]


# -- forms and the admin


def test_a_form_is_refused_if_the_row_has_changed_since_it_was_shown() -> None:
    form_class = modelform_factory(Order, fields=["status", "version"])
    order = Order.objects.create()
    shown = form_class(instance=order)
    assert 'type="hidden" name="version" value="1"' in str(shown)
    data = {"status": "mine", "version": "1"}
    assert form_class(data, instance=Order.objects.get()).is_valid()
    Order.objects.get().save()
    late = form_class(data, instance=Order.objects.get())
    assert not late.is_valid()
    assert "Order was changed by somebody else" in str(late.non_field_errors())


def test_of_two_who_edit_in_the_admin_the_second_is_told() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    order = Order.objects.create()
    page = f"/admin/shop/order/{order.pk}/change/"
    assert 'name="version" value="1"' in client.get(page).content.decode()
    assert client.post(page, {"status": "first", "version": "1"}).status_code == 302
    answer = client.post(page, {"status": "second", "version": "1"})
    assert "was changed by somebody else in the meantime" in answer.content.decode()
    assert Order.objects.get().status == "first"


def test_a_row_that_changes_while_the_admin_saves_it_is_left_as_it_is(monkeypatch: Any) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    order = Order.objects.create()
    page = f"/admin/shop/order/{order.pk}/change/"
    seen = Order.clean

    def clean_then_somebody_else_saves(self: Order) -> None:
        seen(self)
        Order.objects.update(status="theirs", version=F("version") + 1)

    monkeypatch.setattr(Order, "clean", clean_then_somebody_else_saves)
    answer = client.post(page, {"status": "mine", "version": "1"}, follow=True)
    assert "was changed by somebody else in the meantime" in answer.content.decode()
    assert Order.objects.get().status != "mine"


# -- races

RACE = """
import django, sys
django.setup()
from celeriac.core.errors import StaleObject
from tests.django.rows.shop import models
model, name = getattr(models, sys.argv[1]), sys.argv[2]
won = 0
while won < 50:
    row = model.objects.get()
    row.status = name
    try:
        row.save()
    except StaleObject:
        continue
    won += 1
    print(row.status, row.row_version if model is not models.Order else row.version)
"""


@pytest.mark.parametrize("model", ["Order", *(["Legacy"] if POSTGRES else [])])
def test_of_processes_that_race_exactly_one_wins_each_version(model: str) -> None:
    getattr(shop, model).objects.create()
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, model, f"racer{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    wins = [racer.communicate()[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    versions = [int(word) for win in wins for word in win[1::2]]
    assert len(versions) == len(set(versions)) == 100
    if model == "Order":
        assert sorted(versions) == list(range(2, 102))
        assert Order.objects.get().version == 101
