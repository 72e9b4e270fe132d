"""Celeriac's settings and broker, read from an app's configuration."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from celeriac import Celery
from celeriac.bridge.configuration import broker_for, read_settings, single_url
from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import ConfigurationError
from celeriac.core.settings import Settings


def app_with(configuration: object = None, namespace: str | None = None, **settings: Any) -> Celery:
    app = Celery("shop", set_as_current=False, **settings)
    if configuration is not None:
        app.config_from_object(configuration, namespace=namespace)
    return app


def django_like(**settings: object) -> SimpleNamespace:
    """Upper-case settings, Celery's among many others, as ``django.conf.settings``."""
    return SimpleNamespace(SECRET_KEY="s", CELERY_BROKER_URL="memory://", TIME_ZONE="UTC", **settings)


def test_nothing_configured_means_the_defaults() -> None:
    assert read_settings(app_with()) == Settings()


# -- With a namespace


def test_django_settings() -> None:
    settings = django_like(CELERY_ENGINE_LEASE_SECONDS=9, CELERY_ENGINE_BATCH_MAX="7")
    read = read_settings(app_with(settings, "CELERY"))
    assert read == Settings(engine_lease_seconds=9.0, engine_batch_max=7)


def test_a_settings_module() -> None:
    module = ModuleType("settings")
    module.CELERY_ENGINE_BATCH_MAX = 7  # type: ignore[attr-defined]
    assert read_settings(app_with(module, "CELERY")).engine_batch_max == 7


@pytest.mark.parametrize("namespace", ["CELERY", "CELERY_", "celery"])
def test_the_namespace_as_celery_takes_it(namespace: str) -> None:
    read = read_settings(app_with(django_like(CELERY_ENGINE_BATCH_MAX=7), namespace))
    assert read.engine_batch_max == 7


def test_a_misspelt_setting_with_the_namespace_is_refused() -> None:
    app = app_with(django_like(CELERY_ENGINE_BATCH_MAXX=7), "CELERY")
    with pytest.raises(ConfigurationError, match="unknown setting 'engine_batch_maxx'; did you mean"):
        read_settings(app)


def test_what_lacks_the_namespace_belongs_to_somebody_else() -> None:
    settings = django_like(
        ENGINE_ROOM="below deck", engine_noise=3, ENGINE_BATCH_MAX=5, MY_CELERY_ENGINE_BATCH_MAX=6
    )
    assert read_settings(app_with(settings, "CELERY")) == Settings()


@pytest.mark.parametrize("touched", [True, False], ids=["configured", "not yet configured"])
def test_what_is_set_on_the_app_wins_and_needs_no_namespace(*, touched: bool) -> None:
    app = app_with(django_like(CELERY_ENGINE_BATCH_MAX=7, CELERY_ENGINE_MAX_DELIVERIES=4), "CELERY")
    if touched:
        assert app.conf.broker_url == "memory://"
    app.conf.engine_batch_max = 9
    assert read_settings(app) == Settings(engine_batch_max=9, engine_max_deliveries=4)
    app.conf.update(engine_batch_max=11)
    assert read_settings(app).engine_batch_max == 11
    app.conf.engine_batch_maximum = 12
    with pytest.raises(ConfigurationError, match="'engine_batch_maximum'; did you mean 'engine_batch_max'"):
        read_settings(app)


# -- Without one


def test_a_plain_configuration_object() -> None:
    class Configuration:
        broker_url = "memory://"
        engine_batch_max = 7
        ENGINE_BATCH_MAX = 8

    assert read_settings(app_with(Configuration)) == Settings(engine_batch_max=7)


def test_keywords_of_the_app() -> None:
    assert read_settings(app_with(engine_batch_max=7)).engine_batch_max == 7


@pytest.mark.parametrize("touched", [True, False], ids=["configured", "not yet configured"])
def test_setting_later_overrides(*, touched: bool) -> None:
    app = app_with({"engine_batch_max": 7, "engine_max_deliveries": 4})
    if touched:
        assert app.conf.task_acks_late is False
    app.conf.engine_batch_max = 9
    app.conf["engine_settle_seconds"] = 0.5
    read = read_settings(app)
    assert (read.engine_batch_max, read.engine_max_deliveries, read.engine_settle_seconds) == (9, 4, 0.5)


def test_defaults_of_the_app_are_overridden() -> None:
    app = app_with({"engine_batch_max": 7})
    app.add_defaults({"engine_batch_max": 5, "engine_max_deliveries": 2})
    read = read_settings(app)
    assert read.engine_max_deliveries == 2
    assert app.conf.engine_batch_max == read.engine_batch_max


@pytest.mark.parametrize("touched", [True, False], ids=["configured", "not yet configured"])
def test_a_misspelt_setting_is_refused_wherever_it_is_set(*, touched: bool) -> None:
    app = app_with({})
    if touched:
        assert app.conf.task_acks_late is False
    app.conf.engine_lease_second = 1
    with pytest.raises(
        ConfigurationError, match="'engine_lease_second'; did you mean 'engine_lease_seconds'"
    ):
        read_settings(app)


def test_a_bad_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bad setting"):
        read_settings(app_with({"engine_batch_max": "many"}))


def test_celerys_and_other_peoples_settings_are_left_alone() -> None:
    configuration = {"broker_url": "memory://", "task_acks_late": True, "my_engine": 1, "engin_x": 2}
    app = app_with(configuration)
    assert read_settings(app) == Settings()
    assert (app.conf.task_acks_late, app.conf.my_engine) == (True, 1)


# -- The broker


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/0",
        "rediss://host/0",
        "redis+socket:///tmp/s",
        "sqlite:///f.db",
        "REDIS://host",
        "sentinel://a;sentinel://b",
    ],
)
@pytest.mark.shows("setting", "broker_url")
def test_one_url_of_a_broker_of_ours(url: str) -> None:
    assert single_url(url) == url
    assert single_url([url]) == url
    assert single_url((url,)) == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "redis",
        "memory://",
        "amqp://guest@host//",
        "sqs://",
        "sentinel://a:1;redis://b",
        "redis://a/0;redis://b/0",
        ["redis://a/0", "redis://b/0"],
        ["amqp://a"],
        [],
        [None],
        5,
    ],
)
def test_several_brokers_or_somebody_elses(url: object) -> None:
    assert single_url(url) is None


def test_sentinels_may_be_listed() -> None:
    assert single_url(["sentinel://a:1", "sentinel://b:2"]) == "sentinel://a:1;sentinel://b:2"


@pytest.mark.shows("setting", "broker_transport_options")
def test_the_broker_has_the_apps_transport_options() -> None:
    app = app_with({"broker_transport_options": {"global_keyprefix": "shop:", "visibility_timeout": 60}})
    broker = broker_for(app, "redis://127.0.0.1:1/0")
    assert isinstance(broker, RedisBroker)
    assert broker._prefix == "shop:"
    assert isinstance(broker_for(app, "sqlite:///shop.db"), SqliteBroker)


@pytest.mark.parametrize("transport", ["redis", None, ""])
def test_the_app_owns_a_transport_of_ours(transport: str | None) -> None:
    app = app_with({"broker_transport": transport})
    assert app.owns_transport("redis://host/0")


def test_the_app_does_not_own_a_transport_set_by_hand() -> None:
    app = app_with({"broker_transport": "shop.transport:Special"})
    assert not app.owns_transport("redis://host/0")
    assert not app.owns_transport("sqlite:///f.db")
