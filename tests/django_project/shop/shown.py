"""The project with everybody logged in, for pictures of its pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shop.settings import *  # noqa: F403 - settings are made so
from shop.settings import MIDDLEWARE as _MIDDLEWARE

DEBUG = True
MIDDLEWARE = [*_MIDDLEWARE, "shop.shown.everybody_is_root"]


def everybody_is_root(respond: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Whoever asks is the user ``root``."""

    def answer(request: Any) -> Any:
        from django.contrib.auth.models import User

        request.user = User.objects.get(username="root")
        return respond(request)

    return answer
