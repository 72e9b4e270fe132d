"""KEDA's external scaler: answers its five calls from what was decided last."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.outlets.answers import Answer, Answers
from celeriac.deploy.outlets.protocol import SERVICE, Protocol, grpc_library, protocol

__all__ = ["METRIC", "KedaServer"]

METRIC = "desired_workers"
#: Seconds after which a stream says again what it has said.
_REPEAT = 15.0
#: Each stream keeps a thread: two of them for each pool, for several operators, and some for single calls.
_THREADS_PER_POOL, _THREADS = 6, 8


class KedaServer:
    """Listens from the start; answers after ``start``, until ``close``."""

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        """Port 0 is any free one. Raises ConfigurationError if it is taken, and MissingExtra."""
        grpc = grpc_library()
        calls = _Calls(answers, grpc, protocol())
        threads = _THREADS + _THREADS_PER_POOL * len(answers.pools)
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="KEDA"), options=(("grpc.so_reuseport", 0),)
        )
        handlers = {
            name: getattr(grpc, f"{rpc.kind}_rpc_method_handler")(
                getattr(calls, name),
                request_deserializer=rpc.request.FromString,
                response_serializer=rpc.response.SerializeToString,
            )
            for name, rpc in protocol().rpcs.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            self.port = int(
                self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            )
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigurationError(
                f"KEDA cannot be answered on {host}:{port}: take --grpc-port with a free port, or 0 for any"
            )

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop answering; who is being answered has a second."""
        self._server.stop(1.0).wait()


class _Calls:
    """One method for each call of the protocol, by its name there."""

    def __init__(self, answers: Answers, grpc: Any, messages: Protocol) -> None:
        self._answers = answers
        self._codes = grpc.StatusCode
        self._messages = messages.messages

    def IsActive(self, scaled: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Say whether the pool should have pods."""
        return self._messages["IsActiveResponse"](result=self._answer(scaled, context).active)

    def StreamIsActive(self, scaled: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Say so now and at every change."""
        for active in self._answers.follow_active(self._pool(scaled, context), _REPEAT):
            if not context.is_active():
                return
            yield self._messages["IsActiveResponse"](result=active)

    def GetMetricSpec(self, scaled: Any, context: Any) -> Any:  # noqa: N802
        """Say that the number is one of pods: each of them is to have 1 of it."""
        self._pool(scaled, context)
        return self._spec()

    def StreamMetricSpec(self, scaled: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Say so once; it never changes, but who has asked must not be sent away."""
        pool = self._pool(scaled, context)
        yield self._spec()
        for _active in self._answers.follow_active(pool, _REPEAT):
            if not context.is_active():
                return

    def GetMetrics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Say how many pods the pool should have, as an integer and as a float: KEDA ignores a float 0."""
        desired = self._answer(request.scaledObjectRef, context).desired
        value = self._messages["MetricValue"](
            metricName=METRIC, metricValue=desired, metricValueFloat=float(desired)
        )
        return self._messages["GetMetricsResponse"](metricValues=[value])

    def _spec(self) -> Any:
        spec = self._messages["MetricSpec"](metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return self._messages["GetMetricSpecResponse"](metricSpecs=[spec])

    def _pool(self, scaled: Any, context: Any) -> str:
        known = self._answers.pools
        pool = scaled.scalerMetadata.get("pool") or (known[0] if len(known) == 1 else "")
        if pool not in known:
            context.abort(
                self._codes.INVALID_ARGUMENT,
                f"there is no pool {pool!r}: set the trigger's metadata pool to {' or '.join(known)}",
            )
        return str(pool)

    def _answer(self, scaled: Any, context: Any) -> Answer:
        answer = self._answers.latest(self._pool(scaled, context))
        if answer is None:
            context.abort(self._codes.UNAVAILABLE, "nothing is known yet: the broker has not answered")
            raise AssertionError("abort does not return")
        return answer
