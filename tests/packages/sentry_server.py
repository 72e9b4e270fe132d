"""A server that takes what Sentry's SDK sends, slowly."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]

#: Seconds for one answer: what a process does not wait for when it ends is lost.
_TAKES = 0.1


class SentryServer:
    """What has been sent so far."""

    def __init__(self) -> None:
        self.url = ""
        self._events: list[tuple[str, Event]] = []

    def take(self, envelope: bytes) -> None:
        """Keep what is in an envelope: a line about it, then pairs of a header and a content."""
        lines = envelope.split(b"\n")[1:]
        for header, content in zip(lines[::2], lines[1::2], strict=False):
            kind = json.loads(header)["type"]
            if kind in ("event", "transaction"):
                self._events.append((kind, json.loads(content)))

    def errors(self) -> list[Event]:
        """The errors."""
        return [event for kind, event in list(self._events) if kind == "event"]

    def transactions(self, trace: str | None = None) -> dict[str, list[Event]]:
        """The finished transactions by name, those of a trace if one is given."""
        found: dict[str, list[Event]] = {}
        for kind, event in list(self._events):
            if kind == "transaction" and trace in (None, event["contexts"]["trace"]["trace_id"]):
                found.setdefault(event["transaction"], []).append(event)
        return found


@contextmanager
def sentry_server() -> Iterator[SentryServer]:
    """A server for the time of the block."""
    server = SentryServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(_TAKES)
            server.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://key@127.0.0.1:{listener.server_port}/1"
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
