from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

#: Set by the test.
ship: Any = None


def order(request: HttpRequest, name: str) -> HttpResponse:
    ship.delay(name)
    return HttpResponse("ok")


def fail(request: HttpRequest, name: str) -> HttpResponse:
    ship.delay(name)
    raise ZeroDivisionError
