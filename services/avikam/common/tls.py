"""Certificates of the path between gateway and worker, where each side proves who it is.

Files may be replaced while a service runs, as cert-manager and the kubelet do: they are read again
when a connection is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files hold, PEM: own key and certificate, and who may sign the other side's."""

    key: bytes
    certificate: bytes
    authority: bytes


class CertificateFiles:
    """Three files; a set that is half replaced or gone for a moment leaves the last one in use."""

    def __init__(self, key: Path, certificate: Path, authority: Path) -> None:
        self._paths = (key, certificate, authority)
        self._last: Certificates | None = None

    def read(self) -> Certificates:
        """What to use now. Raises OSError when there never was anything to read."""
        try:
            self._last = Certificates(*(path.read_bytes() for path in self._paths))
        except OSError:
            if self._last is None:
                raise
        return self._last


def certificate_files(*paths: Path | None) -> CertificateFiles | None:
    """Files of key, certificate and authority, none of them, or ValueError for some of them."""
    given = [path for path in paths if path is not None]
    if not given:
        return None
    if len(given) < 3:
        raise ValueError(
            "key, certificate and authority belong together: set all three of them, or none"
        )
    return CertificateFiles(*given)
