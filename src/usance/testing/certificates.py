"""A certificate authority for a test: broker and client certificates as PEM files that end within a day."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from usance.kernel.clock import Clock, SystemClock

LIFE = timedelta(days=1)
SKEW = timedelta(minutes=5)


class Certificate(NamedTuple):
    """Files of one certificate: its key, the certificate, and both in one as a broker reads them."""

    key: Path
    certificate: Path
    both: Path


class Authority:
    """Signs certificates for brokers (127.0.0.1 and localhost) and clients; files go to `folder`."""

    def __init__(self, folder: Path, name: str = "usance-test", clock: Clock | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._now = datetime.fromtimestamp((clock or SystemClock()).now() / 1000, UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (
            self._builder(self._subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_USAGE, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / f"{name}.pem"
        _write(self.ca_file, signed.public_bytes(Encoding.PEM))

    def broker(self) -> Certificate:
        """Return a broker's certificate: it serves, and is a client of its controller."""
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._leaf("broker", usage, names)

    def client(self, name: str, *, expired: bool = False) -> Certificate:
        """Return a client's certificate in that name; an expired one ended an hour ago."""
        return self._leaf(name, [ExtendedKeyUsageOID.CLIENT_AUTH], [], expired=expired)

    def _leaf(
        self,
        name: str,
        usage: list[x509.ObjectIdentifier],
        names: list[x509.GeneralName],
        *,
        expired: bool = False,
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            self._builder(subject, key.public_key(), timedelta(hours=-25) if expired else None)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        stem = f"{name}-expired" if expired else name
        found = Certificate(*(self.folder / f"{stem}{end}" for end in (".key", ".crt", ".both")))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = signed.public_bytes(Encoding.PEM)
        for path, content in zip(found, (secret, public, secret + public), strict=True):
            _write(path, content)
        return found

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        shift: timedelta | None = None,
    ) -> x509.CertificateBuilder:
        begin = self._now - SKEW + (shift or timedelta())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + LIFE)
        )


_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
