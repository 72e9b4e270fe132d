"""What is answered by HTTP: numbers for Prometheus, JSON for KEDA's metrics-api, explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from celeriac.deploy.outlets.answers import Answer, Answers, Basis
from celeriac.observe.prometheus import Family, encode
from celeriac.observe.server import Answer as Page
from celeriac.scaler.service import Upkeep

__all__ = ["pages"]

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
#: Seconds without a decision after which the process is thought to hang.
_HANGS = 120.0


def pages(answers: Answers, upkeep: Upkeep, idle_for: Callable[[], float]) -> dict[str, Page]:
    """Return what is answered at each path; ``idle_for`` are the seconds since the loop last went round."""

    def metrics(accept: str) -> tuple[int, str, bytes]:
        body, content_type = encode(_families(answers, upkeep), accept)
        return HTTPStatus.OK, content_type, body

    def live(_accept: str) -> tuple[int, str, bytes]:
        if idle_for() > _HANGS:
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"nothing was decided for two minutes\n"
        return HTTPStatus.OK, _TEXT, b"ok\n"

    def ready(_accept: str) -> tuple[int, str, bytes]:
        if any(answers.latest(pool) is None for pool in answers.pools):
            return (
                HTTPStatus.SERVICE_UNAVAILABLE,
                _TEXT,
                b"nothing is known yet: the broker has not answered\n",
            )
        return HTTPStatus.OK, _TEXT, b"ok\n"

    found: dict[str, Page] = {"/metrics": metrics, "/live": live, "/ready": ready}
    for pool in answers.pools:
        found[f"/desired/{pool}"] = _desired(answers, pool)
        found[f"/explain/{pool}"] = _explain(answers, pool)
    return found


def _desired(answers: Answers, pool: str) -> Page:
    def page(_accept: str) -> tuple[int, str, bytes]:
        answer = answers.latest(pool)
        if answer is None:
            return _json(
                HTTPStatus.SERVICE_UNAVAILABLE, {"error": "nothing is known yet: the broker has not answered"}
            )
        return _json(HTTPStatus.OK, answer)

    return page


def _explain(answers: Answers, pool: str) -> Page:
    def page(_accept: str) -> tuple[int, str, bytes]:
        latest = answers.latest(pool)
        moments = [moment._asdict() for moment in answers.moments(pool)]
        return _json(HTTPStatus.OK, {"pool": pool, "latest": latest, "moments": moments})

    return page


def _json(status: int, content: Any) -> tuple[int, str, bytes]:
    return status, _JSON, msgspec.json.encode(content)


def _families(answers: Answers, upkeep: Upkeep) -> Iterator[Family]:
    desired = Family("celery_desired_workers", "Pods that a pool should have.", "gauge")
    advised = Family("celeriac_scale_preview_workers", "Pods that a pool would be given.", "gauge")
    pods = Family("celeriac_scale_pods", "Pods of a pool by state.", "gauge")
    tasks = Family("celeriac_scale_tasks", "Tasks of a pool by state.", "gauge")
    slots = Family("celeriac_scale_slots", "Slots that a pool is thought to need, by reason.", "gauge")
    wait = Family("celeriac_scale_wait_seconds", "What a task that arrives now would wait.", "gauge")
    lead = Family("celeriac_scale_lead_seconds", "What a pod is thought to take to start.", "gauge")
    basis = Family("celeriac_scale_basis", "What the number rests on.", "gauge")
    for answer in filter(None, map(answers.latest, answers.pools)):
        pool = answer.pool
        desired.add(answer.desired, pool=pool)
        if answer.preview:
            advised.add(answer.advised, pool=pool)
        for state in ("ready", "starting", "terminating"):
            pods.add(getattr(answer, state), pool=pool, state=state)
        for state in ("queued", "running", "delayed"):
            tasks.add(getattr(answer, state), pool=pool, state=state)
        for reason, number in _slots(answer).items():
            slots.add(number, pool=pool, reason=reason)
        wait.add(answer.decision.backlog, pool=pool)
        lead.add(answer.decision.lead, pool=pool)
        for name in Basis.ALL:
            basis.add(answer.basis == name, pool=pool, basis=name)
    yield from (desired, advised, pods, tasks, slots, wait, lead, basis)
    yield Family(
        "celeriac_broker_up", "Whether the broker has answered.", "gauge", [("", {}, upkeep.broker_up)]
    )
    took = Family("celeriac_scale_decision_seconds", "What the last decision took.", "gauge")
    took.add(upkeep.decision_seconds)
    yield took


def _slots(answer: Answer) -> dict[str, float]:
    decision = answer.decision
    return {
        "forecast": decision.load,
        "median": decision.median,
        "margin": decision.margin,
        "urgent": decision.urgent,
    }
