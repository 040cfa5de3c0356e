"""Security of a test's brokers: TLS 1.3 everywhere, SCRAM-SHA-512 or mutual TLS for clients, ACLs on.

Clients come by the listener CLIENT with user and password, or by MTLS with a certificate whose common name is
the user. Brokers among themselves use certificates too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usance.testing.certificates import Authority, Certificate

ADMIN = "admin"
BROKER = "broker"
MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4096


class Realm:
    """Who may enter: an authority, users with passwords, and what brokers and clients are told."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.passwords = {ADMIN: f"{ADMIN}-secret"}
        self._broker = self.authority.broker()

    def properties(self, ports: Mapping[str, int]) -> dict[str, str]:
        """Return the settings that make a broker ask for all this."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        kinds = {name: "SASL_SSL" if name == "CLIENT" else "SSL" for name in ports}
        found = {
            "listener.security.protocol.map": ",".join(f"{n}:{k}" for n, k in kinds.items()),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._broker.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca_file),
            "ssl.enabled.protocols": "TLSv1.3",
            "ssl.protocol": "TLSv1.3",
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.client.{MECHANISM.lower()}.sasl.jaas.config": module,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{BROKER};User:{ADMIN}",
            # An answer to a wrong password is held back for this long, lest it be guessed fast.
            "connection.failed.authentication.delay.ms": "100",
        }
        for name, kind in kinds.items():
            if kind == "SSL":
                found[f"listener.name.{name.lower()}.ssl.client.auth"] = "required"
                rule = "RULE:^CN=([^,]+).*$/$1/,DEFAULT"
                found[f"listener.name.{name.lower()}.ssl.principal.mapping.rules"] = rule
        return found

    def format_options(self) -> list[str]:
        """Return what the storage tool is told, so that the administrator can enter at all."""
        password = self.passwords[ADMIN]
        return [
            "--add-scram",
            f"{MECHANISM}=[name={ADMIN},password={password},iterations={ITERATIONS}]",
        ]

    def scram(self, user: str = ADMIN, password: str | None = None) -> dict[str, Any]:
        """Return what a client with user and password is told."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self.passwords[user] if password is None else password,
            "ssl.ca.location": str(self.authority.ca_file),
        }

    def mutual(self, certificate: Certificate | None = None) -> dict[str, Any]:
        """Return what a client with a certificate (default: the administrator's) is told."""
        shown = certificate or self.authority.client(ADMIN)
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.authority.ca_file),
            "ssl.certificate.location": str(shown.certificate),
            "ssl.key.location": str(shown.key),
        }
