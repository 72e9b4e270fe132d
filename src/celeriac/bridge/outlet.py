"""Where messages go that leave an outbox: to a broker of ours, or with kombu to any other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from celeriac.bridge.broker_outlet import BrokerOutlet
from celeriac.bridge.configuration import broker_for, single_url
from celeriac.bridge.kept_chords import ChordTeller
from celeriac.bridge.kombu_outlet import KombuOutlet
from celeriac.bridge.refusals import Item, Refusals
from celeriac.core.outbox import Outgoing
from celeriac.core.publisher import BrokerPublisher

__all__ = ["AppOutlet"]


class _Ways(threading.local):
    """Of one thread, as neither kind may be shared."""

    def __init__(self, app: Any, patience: float | None) -> None:
        url = single_url(app.conf.broker_write_url)
        self.own: BrokerOutlet | None = None
        if url and app.owns_transport(url):
            options = {} if patience is None else _time_outs(app, patience)
            self.own = BrokerOutlet(BrokerPublisher(broker_for(app, url, options), app.layers))
        self.kombu = KombuOutlet(app, patience)


class AppOutlet:
    """Publishes for one app, in whatever thread."""

    def __init__(self, app: Any, patience: float | None = None) -> None:
        """``patience`` is in seconds: how long the broker may take to answer, if not as long as ever."""
        self._app = app
        self._patience = patience
        self._chords = ChordTeller(app, patience)
        self._ways: _Ways | None = None
        self._lock = threading.Lock()

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[int, str]:
        refusals = Refusals()
        ways = self._open()
        bare = self._chords.told(
            outgoing, lambda place, reason: refusals.add(Item(place, outgoing[place]), reason)
        )
        for plain, run in groupby(map(Item, range(len(bare)), bare), _is_plain):
            way = ways.own if plain and ways.own is not None else ways.kombu
            way.publish(list(run), refusals)
        return refusals.reasons

    def _open(self) -> _Ways:
        if self._ways is None:
            with self._lock:
                self._ways = self._ways or _Ways(self._app, self._patience)
        return self._ways


def _is_plain(item: Item) -> bool:
    return not item.outgoing.exchange


def _time_outs(app: Any, patience: float) -> dict[str, float]:
    """Half of the time is for connecting, half for the answer."""
    given = app.conf.broker_transport_options or {}
    names = ("socket_connect_timeout", "socket_timeout")
    return {name: min(given.get(name) or patience, patience / 2) for name in names}
