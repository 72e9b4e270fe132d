"""The broker of one run: checked before anything starts, left as it was found."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from celeriac.brokers.connect import open_broker, parse_sqlite_url
from celeriac.brokers.redis import RedisBroker
from celeriac.core.errors import BrokerError, ConfigurationError, MissingExtra

__all__ = ["DemoBroker", "file_url"]

_ADVICE = "check that it runs and the URL is right, or leave --broker out to use a file"


class DemoBroker:
    """A queue of this run's own in the broker at ``url``; in Redis all its keys have their own prefix."""

    def __init__(self, url: str, run: str) -> None:
        """Raise :class:`ConfigurationError` when the URL is of no use."""
        self.queue = f"orders-{run}"
        self.prefix = f"celeriac-demo-{run}:"
        self._broker = open_broker(url, {"global_keyprefix": self.prefix})
        self.url = _absolute(url)

    @property
    def public_url(self) -> str:
        """The URL without its password."""
        parts = urlsplit(self.url)
        if parts.password is None:
            return self.url
        return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()

    def environment(self) -> dict[str, str]:
        """What tells the project to use this broker."""
        return {
            "CELERY_BROKER_URL": self.url,
            "LOGISTICS_QUEUE": self.queue,
            "LOGISTICS_KEY_PREFIX": self.prefix,
        }

    def check(self) -> None:
        """The broker answers; raises :class:`ConfigurationError` saying what to do otherwise."""
        try:
            self._broker.stats([self.queue])
        except BrokerError as error:
            reason = str(error).rstrip(".")
            raise ConfigurationError(f"{self.public_url}: {reason}; {_ADVICE}") from None

    def backlog(self) -> int:
        """Return how many messages are waiting or being worked on."""
        stats = self._broker.stats([self.queue])[self.queue]
        return stats.ready + stats.leased + stats.delayed

    def close(self) -> None:
        """Nothing of this run is left in the broker, as far as it can be reached."""
        with suppress(BrokerError):
            self._broker.purge([self.queue])
            if isinstance(self._broker, RedisBroker):
                _forget_keys(self.url, self.prefix)
        self._broker.close()


def file_url(file: Path, options: str = "") -> str:
    """Return the URL of a broker in this file, good in any folder."""
    return f"sqlite:///{quote(str(file.absolute()))}" + (f"?{options}" if options else "")


def _forget_keys(url: str, prefix: str) -> None:
    """No key with the prefix is left in that Redis."""
    try:
        from redis import Redis, RedisError
    except ImportError:
        raise MissingExtra("redis", "redis") from None
    with suppress(RedisError), Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.unlink(key)


def _absolute(url: str) -> str:
    """The URL of a file as seen from any folder: the project's processes do not run in the caller's."""
    with suppress(ConfigurationError):
        return file_url(parse_sqlite_url(url).path, options=urlsplit(url).query)
    return url
