"""The Kubernetes API as a pod reaches it: its account's token, the cluster's certificate, time-outs."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from celeriac.core.errors import CeleriacError

__all__ = ["ClusterApi", "ClusterUnavailable"]

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATIENCE = 5.0
_PAGE = 500
#: Names the API where it is not the pod's own cluster's; for tests, and for a proxy such as kubectl's.
_URL = "CELERIAC_KUBERNETES_URL"


class ClusterUnavailable(CeleriacError):
    """The API could not be reached, or has refused."""


class ClusterApi:
    """A connection for each call: there are few, and the API's load balancer may change between them."""

    def __init__(self, url: str, namespace: str, account: Path | None = None) -> None:
        """``account`` is the folder with token and certificate; None: neither is needed."""
        self._url = urlsplit(url)
        self.namespace = namespace
        self._account = account

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str] = os.environ) -> ClusterApi | None:
        """Return the API of the cluster that this process runs in; None outside of one."""
        namespace = environment.get("POD_NAMESPACE", "")
        if url := environment.get(_URL):
            return cls(url, namespace or "default")
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
        if not host or not (_ACCOUNT / "token").exists():
            return None
        shown = f"[{host}]" if ":" in host else host
        own = (_ACCOUNT / "namespace").read_text().strip()
        return cls(f"https://{shown}:{port or 443}", namespace or own, _ACCOUNT)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the namespace's pods with these labels; raise ClusterUnavailable."""
        found: list[dict[str, Any]] = []
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            page = self._ask("GET", f"/api/v1/namespaces/{self.namespace}/pods?{urlencode(query)}")
            found += page.get("items") or []
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return found
            query["continue"] = more

    def annotate(self, pod: str, annotations: Mapping[str, str]) -> None:
        """Set these annotations of the pod; raise ClusterUnavailable."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        self._ask("PATCH", f"/api/v1/namespaces/{self.namespace}/pods/{pod}", patch)

    def _ask(self, method: str, path: str, patch: object = None) -> dict[str, Any]:
        connection = self._connection()
        try:
            body = None if patch is None else json.dumps(patch)
            connection.request(method, f"{self._url.path.rstrip('/')}{path}", body, self._headers(patch))
            response = connection.getresponse()
            text = response.read()
            answer = json.loads(text) if text else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ClusterUnavailable(f"the Kubernetes API does not answer: {error}") from None
        finally:
            connection.close()
        if response.status >= 300:
            raise ClusterUnavailable(
                f"the Kubernetes API has refused {method} of pods in {self.namespace!r}:"
                f" {response.status} {answer.get('message', '')}; the scaler's role needs get, list and patch"
            )
        return dict(answer)

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or "localhost"
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port or 80, timeout=_PATIENCE)
        authority = None if self._account is None else str(self._account / "ca.crt")
        try:
            context = ssl.create_default_context(cafile=authority)
        except OSError as error:
            raise ClusterUnavailable(f"the cluster's certificate cannot be read: {error}") from None
        return http.client.HTTPSConnection(host, self._url.port or 443, timeout=_PATIENCE, context=context)

    def _headers(self, patch: object) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._account is not None:  # read anew: the kubelet renews it
            headers["Authorization"] = f"Bearer {(self._account / 'token').read_text().strip()}"
        if patch is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        return headers
