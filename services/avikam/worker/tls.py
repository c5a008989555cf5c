"""Only clients with a certificate of ours may speak to a worker, once it has one itself."""

from __future__ import annotations

import grpc

from avikam.common.tls import CertificateFiles


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials that demand the client's certificate and follow the files.

    gRPC asks before each handshake, so that a renewed certificate needs no restart. Raises OSError
    for files that cannot be read.
    """
    used = files.read()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        now = files.read()
        if now == used:
            return None
        used = now
        return _configuration(files)

    # None means: no news. The stubs do not know it.
    return grpc.dynamic_ssl_server_credentials(
        _configuration(files),
        renewed,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    found = files.read()
    pair = (found.key, found.certificate)
    return grpc.ssl_server_certificate_configuration([pair], found.authority)
