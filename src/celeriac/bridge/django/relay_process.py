"""The process of a worker's own relay, which has just been forked from the worker."""

from __future__ import annotations

import os
import signal
from typing import Any

from billiard.util import set_pdeathsig
from celery.platforms import set_mp_process_title
from celery.utils.log import get_logger
from django.db import connections

from celeriac.bridge.stop_signal import StopSignal

__all__ = ["run_relay"]

logger = get_logger("celeriac.outbox")


def run_relay(app: Any) -> None:
    """Relay until the worker ends, in whatever way."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the worker, and it says what to do
    parent = os.getppid()
    stop = StopSignal(signal.SIGTERM)
    set_pdeathsig(signal.SIGTERM)
    set_mp_process_title("celeryd", info="outbox relay", hostname=None)
    inherited = _forget_connections()
    try:
        app.framework.desk.relays().run(lambda: stop() or os.getppid() != parent)
    finally:
        del inherited  # kept until now, as collecting them would close the worker's connections


def _forget_connections() -> list[Any]:
    """Let this process make database connections of its own; return the worker's."""
    inherited = list(connections.all(initialized_only=True))
    for connection in inherited:
        del connections[connection.alias]
    return inherited
