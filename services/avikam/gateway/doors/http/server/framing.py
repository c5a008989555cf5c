"""Where a request's body ends, as its headers say (RFC 9112, section 6.3).

Content-Length: 5                   five bytes
Transfer-Encoding: chunked          until the last chunk
neither                             no body
both, or one twice                  400: who reads them otherwise would see another request
Transfer-Encoding: gzip, chunked    501
Transfer-Encoding: gzip             400: no end could be told
"""

from __future__ import annotations

import re

from avikam.protocol.errors import ApiError

# More digits than any length that could be served.
_LENGTH = re.compile(rb"[0-9]{1,18}")


def body_length(version: str, lengths: list[bytes], codings: list[bytes]) -> int | None:
    """Bytes of the body; None when it comes in chunks. Raises the refusal.

    ``lengths`` and ``codings`` are the values of all Content-Length and Transfer-Encoding headers.
    """
    if codings:
        if lengths:
            raise _refused("send Content-Length or Transfer-Encoding, not both")
        _check_codings(version, codings)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise _refused("send one Content-Length header")
    if not _LENGTH.fullmatch(lengths[0]):
        raise _refused("Content-Length must be a whole number")
    return int(lengths[0])


def _check_codings(version: str, codings: list[bytes]) -> None:
    if version == "1.0":
        raise _refused("HTTP/1.0 has no Transfer-Encoding")
    *others, last = [coding.strip().lower() for coding in b",".join(codings).split(b",")]
    if last != b"chunked" or b"chunked" in others:
        raise _refused("the last Transfer-Encoding, and only that, must be chunked")
    if others:
        raise ApiError(
            501,
            "Transfer-Encoding may only be chunked; send the body uncompressed.",
            "unsupported_transfer_encoding",
        )


def _refused(message: str) -> ApiError:
    return ApiError(400, f"{message[0].upper()}{message[1:]}.", "invalid_headers")
