"""Every form of URL that Celery knows for one Redis runs on the engine: TLS, sockets, names and passwords."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.limits.connect import open_store
from celeriac.limits.store import Lock
from tests.servers import RedisServer, free_port, redis_server, require, wait_until
from tests.stage import Stage

SECRET = "p@ss/word"
QUOTED = "p%40ss%2Fword"
FALLBACK = "stock worker runs here"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that nobody else has signed, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(require("openssl", "apt-get install openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", str(paths[0]), "-keyout", str(paths[1])),
        ],
        check=True,
        capture_output=True,
    )
    return paths


class Forms:
    """One Redis that listens with TLS, on a socket, and to names and passwords."""

    server: RedisServer

    def __init__(self, certificate: tuple[Path, Path], folder: Path) -> None:
        self.tls_port = free_port()
        self.socket = folder / "redis.sock"
        self.certificate = certificate[0]
        self.options = [
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1])),
            *("--unixsocket", str(self.socket)),
            *("--user", "celery", "on", f">{SECRET}", "~*", "&*", "+@all"),
        ]


@pytest.fixture(scope="module")
def forms(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    found = Forms(certificate, tmp_path_factory.mktemp("s"))
    with redis_server(*found.options) as server:
        found.server = server
        yield found


URLS = {
    "database": ("redis://127.0.0.1:{port}/5", "redis://127.0.0.1:{port}/6"),
    "name and password": (
        "redis://celery:{secret}@127.0.0.1:{port}/0",
        "redis://celery:{secret}@127.0.0.1:{port}/1",
    ),
    "unix socket": ("redis+socket://{socket}?virtual_host=2", "redis+socket://{socket}?virtual_host=3"),
    "TLS, checked": (
        "rediss://localhost:{tls}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={cert}",
        "rediss://localhost:{tls}/1?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={cert}",
    ),
    "TLS, unchecked": ("rediss://localhost:{tls}/0", "rediss://localhost:{tls}/1?ssl_cert_reqs=CERT_NONE"),
}


@pytest.mark.shows("setting", "broker_url")
@pytest.mark.parametrize("form", URLS)
def test_a_form_of_url(forms: Forms, tmp_path: Path, form: str) -> None:
    values = {
        "port": forms.server.port,
        "tls": forms.tls_port,
        "socket": forms.socket,
        "cert": forms.certificate,
        "secret": QUOTED,
    }
    stage = Stage(tmp_path, forms.server, *(url.format(**values) for url in URLS[form]))
    with stage.worker("-c", "1", "-n", "one@test") as worker:
        assert stage.send("add", 1, 2).get(timeout=10) == 3
        wait_until(lambda: stage.app.control.ping(timeout=1, destination=["one@test"]))
        assert worker.stop() == 0
        assert FALLBACK not in worker.text
    with closing(open_store(stage.url)) as store:
        assert store.lock([Lock(form, "mine", 60)]) == ["mine"]


@pytest.mark.shows("setting", "broker_use_ssl", "redis_backend_use_ssl")
def test_tls_by_settings(forms: Forms, tmp_path: Path) -> None:
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(forms.certificate)}
    stage = Stage(tmp_path, forms.server, f"redis://localhost:{forms.tls_port}/0", "cache+memory://")
    stage.app.conf.broker_use_ssl = tls
    with stage.worker(
        "-c", "1", CONF=json.dumps({"broker_use_ssl": tls, "task_ignore_result": True})
    ) as worker:
        stage.send("effect", "safe", ignore_result=True)
        wait_until(lambda: stage.ledger.count("done") == 1)
        assert worker.stop() == 0
        assert FALLBACK not in worker.text
