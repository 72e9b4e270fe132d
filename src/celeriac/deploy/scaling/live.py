"""What a running ``celeriac scale serve`` tells of its decisions."""

from __future__ import annotations

import urllib.request
from http import HTTPStatus
from urllib.error import HTTPError, URLError

import msgspec

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.scaling.brain import Decision
from celeriac.deploy.scaling.explanation import Moment

__all__ = ["Told", "told_by"]

_PATIENCE = 10.0


class Told(msgspec.Struct):
    """One pool's last day; times are seconds since the first decision of it."""

    moments: list[Moment]
    slots_per_pod: int


class _Latest(msgspec.Struct):
    slots_per_pod: int = 1


class _Moment(msgspec.Struct):
    now: float
    pods: int
    load: float
    decision: Decision


class _Explained(msgspec.Struct):
    moments: list[_Moment]
    latest: _Latest | None = None


def told_by(url: str, pool: str) -> Told:
    """Return what the scaler at this URL tells of the pool; raise ConfigurationError if it tells nothing."""
    address = f"{url.rstrip('/')}/explain/{pool}"
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is no URL of a scaler: write http://HOST:8080")
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:  # noqa: S310 - checked above
            explained = msgspec.json.decode(answer.read(), type=_Explained)
    except HTTPError as error:
        hint = f"there is no pool {pool!r}" if error.code == HTTPStatus.NOT_FOUND else str(error)
        raise ConfigurationError(f"{address}: {hint}; name one of those that scale serve logs") from None
    except (URLError, OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"no scaler answers at {url}: {error}; is scale serve running?") from None
    first = explained.moments[0].now if explained.moments else 0.0
    moments = [Moment(one.now - first, one.pods, one.load, one.decision) for one in explained.moments]
    return Told(moments, explained.latest.slots_per_pod if explained.latest else 1)
