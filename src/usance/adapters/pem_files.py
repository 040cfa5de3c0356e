"""Certificates in PEM files: whose they are, and until when they hold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from usance.kernel.errors import Unreadable


class Held(NamedTuple):
    """One certificate: its subject, from when and until when it holds (ms UTC)."""

    subject: str
    since: int
    until: int


def certificates(file: Path) -> list[Held]:
    """Return the certificates of a file; raises Unreadable where there are none."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else "it holds no PEM certificate"
        raise Unreadable("certificate", f"{file} cannot be read: {told}") from error
    return [
        Held(
            one.subject.rfc4514_string(),
            round(one.not_valid_before_utc.timestamp() * 1000),
            round(one.not_valid_after_utc.timestamp() * 1000),
        )
        for one in found
    ]
