"""The methods of the gRPC API: each is declared once, with who may call it.

A method that a server registers and that is not here is denied to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from avikam.gateway.access.keys import Access
from avikam.protocol.field_count import GENERATE, TOKENIZE, Inside


@dataclass(frozen=True, slots=True)
class Method:
    """``access`` is what a key must be allowed to do; ``works`` whether a call counts against its
    limits, as POST does over HTTP; ``inside`` how many fields a request's messages may have."""

    access: Access | None
    works: bool = False
    inside: Inside | None = None

    @property
    def probe(self) -> bool:
        """Whether everybody may ask, at any time."""
        return self.access == "open"


UNDECLARED = Method(None)
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "/avikam.v1.InferenceService/Generate": Method("infer", True, GENERATE),
        "/avikam.v1.InferenceService/GenerateStream": Method("infer", True, GENERATE),
        "/avikam.v1.InferenceService/Tokenize": Method("infer", True, TOKENIZE),
        "/avikam.v1.InferenceService/ListModels": Method("infer"),
        "/grpc.health.v1.Health/Check": Method("open"),
        "/grpc.health.v1.Health/List": Method("infer"),
        "/grpc.health.v1.Health/Watch": Method("infer"),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Method("infer"),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Method("infer"),
    }
)
