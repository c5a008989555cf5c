"""gRPC channels to workers, set so that a dead, frozen or cut-off peer is noticed within seconds.

Keepalive alone does not notice a frozen peer: ``ping_timeout_ms`` must be set too. All four of
time, timeout, ping timeout and unlimited pings without data are needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import grpc

from avikam.common.tls import certificate_files
from avikam.gateway.settings import GatewaySettings
from avikam.protocol.limits import LIMITS
from avikam.protocol.worker_token import HEADER, tokens

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A restarted worker is found again quickly; the gateway has its own retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", LIMITS.grpc_message_bytes),
    ("grpc.max_receive_message_length", LIMITS.grpc_message_bytes),
)


OpenChannel = Callable[[str], grpc.aio.Channel]


class TokenChannel:
    """A channel whose calls carry a token.

    Not an interceptor: that would stand between us and every message of a stream.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        metadata = ((HEADER, token),)

        def carrying(opener: Any) -> Any:
            def method(*args: Any, **options: Any) -> Any:
                return functools.partial(opener(*args, **options), metadata=metadata)

            return method

        self.unary_unary = carrying(channel.unary_unary)
        self.unary_stream = carrying(channel.unary_stream)
        self.stream_unary = carrying(channel.stream_unary)
        self.stream_stream = carrying(channel.stream_stream)
        self.close = channel.close


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to one worker; it connects when first used."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


def channel_opener(settings: GatewaySettings) -> OpenChannel:
    """How channels are opened: with a token and with certificates where the settings have them.

    A worker is known by an address that its certificate cannot hold, so the certificate has a name
    that all workers share. Renewed files count for channels opened from then on. Raises OSError for
    files that cannot be read.
    """
    connect = _certified_opener(settings)
    if settings.worker_token is None:
        return connect
    token = tokens(settings.worker_token.get_secret_value())[0].decode()

    def open_with_token(address: str) -> grpc.aio.Channel:
        # All of a channel that a stub and its owner use.
        return cast(grpc.aio.Channel, TokenChannel(connect(address), token))

    return open_with_token


def _certified_opener(settings: GatewaySettings) -> OpenChannel:
    files = certificate_files(
        settings.worker_tls_key, settings.worker_tls_certificate, settings.worker_tls_authority
    )
    if files is None:
        return open_channel
    files.read()
    options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", settings.worker_tls_name))

    def open_secure_channel(address: str) -> grpc.aio.Channel:
        found = files.read()
        credentials = grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
        return grpc.aio.secure_channel(address, credentials, options=options)

    return open_secure_channel
