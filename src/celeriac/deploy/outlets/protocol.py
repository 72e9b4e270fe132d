"""KEDA's protocol of external scalers, from its description in ``externalscaler.binpb``.

The messages are made from the description when they are first needed: code that protoc generates would
run with no library older than the one it was generated with.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any, NamedTuple

from celeriac.core.errors import MissingExtra

__all__ = ["SERVICE", "Protocol", "Rpc", "grpc_library", "protocol"]

SERVICE = "externalscaler.ExternalScaler"
_DESCRIPTION = "externalscaler.binpb"


class Rpc(NamedTuple):
    """One call: what is sent and what comes back."""

    request: Any
    response: Any
    streams: bool  #: whether more than one comes back

    @property
    def kind(self) -> str:
        """The name that grpc has for it."""
        return "unary_stream" if self.streams else "unary_unary"


class Protocol(NamedTuple):
    """The messages' classes and the calls, by name."""

    messages: dict[str, Any]
    rpcs: dict[str, Rpc]


def grpc_library() -> ModuleType:
    """Return grpc; raise MissingExtra with the line that installs it."""
    try:
        import grpc
    except ImportError:
        raise MissingExtra("grpcio", "kubernetes") from None
    library: ModuleType = grpc
    return library


@cache
def protocol() -> Protocol:
    """Return the messages and calls; raise MissingExtra without protobuf."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise MissingExtra("protobuf", "kubernetes") from None
    description = descriptor_pb2.FileDescriptorSet()
    description.ParseFromString(files(__package__).joinpath(_DESCRIPTION).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in description.file:
        pool.Add(file)
    service = pool.FindServiceByName(SERVICE)
    make = message_factory.GetMessageClass
    messages = {name: make(found) for name, found in service.file.message_types_by_name.items()}
    rpcs = {
        method.name: Rpc(
            messages[method.input_type.name], messages[method.output_type.name], method.server_streaming
        )
        for method in service.methods
    }
    return Protocol(messages, rpcs)
