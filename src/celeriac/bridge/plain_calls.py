"""Tasks whose call leaves nothing to decide: one envelope filled in from a template, no producer, no router.

Celery's own message factory and router make the first message of each kind of call, with blanks where
messages differ; the others of that kind are filled in. So the messages are Celery's to the letter,
and whatever is unusual is not plain and goes through Celery's ``send_task``.
"""

from __future__ import annotations

import json
import os
import threading
from binascii import b2a_base64
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import msgspec
from celery import signals
from celery.app.routes import MapRoute
from celery.backends.base import Backend
from celery.utils.functional import maybe_list
from kombu.serialization import registry
from kombu.utils.json import dumps as kombu_dumps

from celeriac.bridge.argsrepr import short_repr
from celeriac.bridge.body import encode_body
from celeriac.bridge.installed_celery import UNSAID_IGNORE_RESULT
from celeriac.bridge.tags import TagStart
from celeriac.bridge.template import Ids, Template, cut_template, new_blanks
from celeriac.core.message import Message

__all__ = ["Kinds", "PlainCalls", "Prepared", "is_published_loudly", "needs_no_word"]

#: Options that differ from message to message of one kind of call, or that stay with the caller.
VARYING: Final = frozenset(
    {
        *("add_to_parent", "chain", "chord", "group_id", "group_index", "link", "link_error"),
        *("parent_id", "producer", "result_cls", "root_id", "task_id", "task_type"),
    }
)
#: Options that, with a value, are for Celery's own way.
UNUSUAL: Final = frozenset(
    {
        *("argsrepr", "connection", "countdown", "eta", "expires", "headers", "kwargsrepr"),
        *("publisher", "router"),
    }
)
_EMBEDDED: Final = frozenset({"link", "link_error", "chain", "chord"})
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
#: Options that Celery's message factory takes, and its sender does not, with what they are unsaid.
_HEADER_OPTIONS: Final = {
    "ignore_result": UNSAID_IGNORE_RESULT,
    **dict.fromkeys(("replaced_task_nesting", "reply_to", "retries", "shadow")),
    **dict.fromkeys(("soft_time_limit", "time_limit")),
}
_MOST_TEMPLATES: Final = 500

_to_json = msgspec.json.Encoder().encode


class Prepared(msgspec.Struct, frozen=True):
    """The message of a plain call, not sent yet."""

    message: Message
    task_id: str
    retry_policy: dict[str, Any] | None
    #: The task that makes the call, if one does.
    parent: Any


class Kinds(threading.local):
    """The templates of one thread, as a message names its thread; none for kinds that are not plain."""

    def __init__(self) -> None:
        #: Delivery tags: a beginning with the time in it, and a number from a random one on.
        self.numbers: Iterator[int] = count(int.from_bytes(os.urandom(5), "big"))
        self.renew(None)

    def renew(self, made_for: Any) -> None:
        """Forget everything that was made for another process or configuration."""
        self.made_for = made_for
        self.templates: dict[Any, Template | None] = {}
        #: What is known of tasks that are called with arguments only.
        self.plans: dict[Any, Any] = {}
        self.ids = Ids()
        self.tags = TagStart()


class PlainCalls:
    """Prepares the messages of plain calls of one app."""

    def __init__(self, amqp: Any) -> None:
        self._amqp = amqp
        self._app = amqp.app
        self._kinds = Kinds()
        self._repr_levels = 3

    def prepare(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Prepared | None:
        """Return the call's message; None if the call is not plain."""
        template = self.template_for(name, options)
        if template is None:
            return None
        return self.fill(template, args or (), kwargs or {}, options, self._app.current_worker_task)

    def template_for(self, name: str, options: dict[str, Any]) -> Template | None:
        """Return what messages of such calls are filled in from now; None if they are not plain."""
        if is_published_loudly():
            return None
        if options.get("ignore_result") or needs_no_word(self._app.backend):
            return self._template(name, options)
        return None

    def fill(
        self, template: Template, args: Any, kwargs: Any, options: dict[str, Any], parent: Any
    ) -> Prepared | None:
        """Return the message of a call made by the task ``parent``; None if its arguments are not plain."""
        if type(args) not in (tuple, list) or type(kwargs) is not dict:
            return None
        kinds = self._kinds
        task_id = options.get("task_id") or kinds.ids.fresh()
        root_id, parent_id = options.get("root_id"), options.get("parent_id")
        if parent is not None:
            root_id = root_id or parent.request.root_id or parent.request.id
            parent_id = parent_id or parent.request.id
        group, group_index = options.get("group_id"), options.get("group_index")
        amqp, levels = self._amqp, self._repr_levels
        try:
            if self._app.framework is not None:
                args, kwargs = self._app.framework.outgoing(args), self._app.framework.outgoing(kwargs)
            values: tuple[bytes, ...] = (
                _to_json(task_id),
                _to_json(root_id or task_id),
                _to_json(parent_id),
                _to_json(short_repr(args, amqp.argsrepr_maxsize, levels)),
                _to_json(short_repr(kwargs, amqp.kwargsrepr_maxsize, levels)) if kwargs else b'"{}"',
                b'"%b"' % b2a_base64(encode_body(args, kwargs, _embedded(options)), newline=False),
                b'"%b%012x"' % (kinds.tags.now(), next(kinds.numbers)),
            )
            if group is not None or group_index is not None:
                values = (*values, _to_json(group), _to_json(group_index))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None  # Celery's own way says what is wrong, or knows how to write it
        return Prepared(template.fill(values), task_id, template.retry_policy, parent)

    def kinds(self) -> Kinds:
        """Return this thread's templates, renewed if the configuration has changed."""
        conf, kinds = self._app.conf, self._kinds
        made_for = (os.getpid(), self._amqp.router, conf.changes)
        if made_for != kinds.made_for:
            kinds.renew((*made_for[:2], dict(conf.changes)))
            self._repr_levels = conf.get("task_repr_maxlevels", 3)
        return kinds

    def _template(self, name: str, options: dict[str, Any]) -> Template | None:
        kinds = self.kinds()
        key: list[Any] = [name]
        for option, value in options.items():
            if option in VARYING:
                continue
            if type(value) not in _SCALARS or (option in UNUSUAL and value is not None):
                return None
            key += (option, value)
        kind = tuple(key)
        if kind not in kinds.templates:
            if len(kinds.templates) > _MOST_TEMPLATES:
                kinds.templates.clear()
            kinds.templates[kind] = self._make_template(name, options)
        return kinds.templates[kind]

    def _make_template(self, name: str, options: dict[str, Any]) -> Template | None:
        """Return a template made from a message of Celery's own; None if this kind of call is not plain."""
        conf = self._app.conf
        if conf.task_send_sent_event or conf.task_always_eager or conf.task_inherit_parent_priority:
            return None
        if conf.task_protocol != 2 or not all(type(route) is MapRoute for route in self._amqp.router.routes):
            return None
        if options.get("task_type") is None and name in self._app._tasks:
            return None  # Celery looks up the task's own options
        blanks = new_blanks()
        options = {key: value for key, value in options.items() if key not in VARYING | UNUSUAL}
        header = {key: options.pop(key, default) for key, default in _HEADER_OPTIONS.items()}
        route_name = options.pop("route_name", None)
        options = self._amqp.router.route(options, route_name or name, (), {}, None)
        if not _is_json(options.get("serializer") or conf.task_serializer):
            return None
        header["retries"] = header["retries"] or 0
        header["replaced_task_nesting"] = header["replaced_task_nesting"] or 0
        header["reply_to"] = header["reply_to"] or self._app.thread_oid
        message = self._amqp.create_task_message(
            blanks["id"],
            name,
            group_id=blanks["group"],
            group_index=blanks["group_index"],
            root_id=blanks["root"],
            parent_id=blanks["parent"],
            argsrepr=blanks["argsrepr"],
            kwargsrepr=blanks["kwargsrepr"],
            **header,
            **options,
        )
        drafted = self._amqp.draft_message(name, message, options)
        if drafted is None:
            return None
        sample, retry_policy = drafted
        envelope = json.loads(sample.payload)
        blanks["body"], blanks["tag"] = envelope["body"], envelope["properties"]["delivery_tag"]
        return cut_template(
            sample.payload, blanks, queue=sample.queue, priority=sample.priority, retry_policy=retry_policy
        )


def is_published_loudly() -> bool:
    """Whether somebody is told of each message as it is published."""
    return bool(signals.before_task_publish.receivers or signals.after_task_publish.receivers)


def _embedded(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is to follow the task, as its message has it; None if nothing is."""
    if _EMBEDDED.isdisjoint(options):
        return None
    embedded = {
        "callbacks": maybe_list(options.get("link")),
        "errbacks": maybe_list(options.get("link_error")),
        "chain": options.get("chain"),
        "chord": options.get("chord"),
    }
    return embedded if any(one is not None for one in embedded.values()) else None


def needs_no_word(backend: Any) -> bool:
    """Whether the result backend has nothing to do when a task is published."""
    return type(backend).on_task_call is Backend.on_task_call or getattr(backend, "is_lazy", False)


def _is_json(serializer: str) -> bool:
    return serializer == "json" and registry._encoders["json"][2] is kombu_dumps
