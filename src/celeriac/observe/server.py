"""The port on which numbers and health are asked for: /metrics, /live, /ready."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from celeriac.core.errors import ConfigurationError

__all__ = ["Answer", "MetricsServer"]

#: Seconds after which a client that says nothing is left alone.
_PATIENCE = 10.0

#: Gets what the client accepts; returns a status, a content type and the body.
Answer = Callable[[str], tuple[int, str, bytes]]


class MetricsServer:
    """Answers GET and HEAD in threads of its own, until ``close``."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Answer]) -> None:
        """Listen; ``pages`` are by path. Port 0 is any free one. Raise ConfigurationError if it is taken."""
        try:
            self._server = _Server((host, port), pages)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be offered on {host}:{port}: {error.strerror or error};"
                " set metrics_port to a free port, or to 0 for any"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="Metrics", daemon=True)
        self._closed = False
        # What is forked from now on must not hold the port, or it would be taken after this process is dead.
        os.register_at_fork(after_in_child=self._server.forget)

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        host, port = self._server.server_address[:2]
        shown = host.decode() if isinstance(host, bytes) else host
        return f"[{shown}]:{port}" if ":" in str(shown) else f"{shown}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        if not self._closed:
            self._closed = True
            if self._thread.is_alive():
                self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Answer]) -> None:
        self.pages = pages
        self.open: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is nobody's error."""

    def forget(self) -> None:
        """Close, in a child, what only its parent uses."""
        self.socket.close()
        for connection in list(self.open):
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server: _Server

    def do_GET(self) -> None:
        """Answer with one of the pages."""
        page = self.server.pages.get(urlsplit(self.path).path)
        if page is None:
            known = " ".join(self.server.pages)
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"There is {known}\n".encode())
            return
        self._answer(*page(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def version_string(self) -> str:
        """What runs here is nobody's business."""
        return "celeriac"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Probes and scrapes are not worth a log line."""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
