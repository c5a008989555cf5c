"""Server reflection under both of its names.

``grpc.reflection.v1`` is what tools ask for today, ``v1alpha`` what older ones know. The messages
are the same on the wire; the package brings only the older name's.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.json_format import MessageToJson, Parse
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(files: Iterable[FileDescriptor], server: aio.Server) -> None:
    """Let clients ask for the services of ``files``, and for reflection itself."""
    files = [*files, reflection_pb2.DESCRIPTOR]
    names = [service.full_name for each in files for service in each.services_by_name.values()]
    servicer = reflection.aio.ReflectionServicer(  # type: ignore[attr-defined]
        [*names, V1], pool=_pool(files)
    )
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    for name in (V1ALPHA, V1):
        generic = grpc.method_handlers_generic_handler(name, methods)
        server.add_generic_rpc_handlers((generic,))


def _pool(files: Iterable[FileDescriptor]) -> descriptor_pool.DescriptorPool:
    """The files with all that they import, and reflection once more under its newer name.

    A pool of its own: what is added here is added for no other part of the process.
    """
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for each in files:
        _add(each, pool, known)
    text = MessageToJson(_proto(reflection_pb2.DESCRIPTOR)).replace("v1alpha", "v1")
    pool.Add(Parse(text, descriptor_pb2.FileDescriptorProto()))
    return pool


def _add(file: FileDescriptor, pool: descriptor_pool.DescriptorPool, known: set[str]) -> None:
    if file.name in known:
        return
    known.add(file.name)
    for imported in file.dependencies:
        _add(imported, pool, known)
    pool.Add(_proto(file))


def _proto(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto
