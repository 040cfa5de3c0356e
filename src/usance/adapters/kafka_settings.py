"""What a Kafka cluster must be told, with the unsafe ways of saying it refused.

Every client that the log opens takes its settings from here; the rule numbers are those of protocol.md.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Annotated, Any, Literal

import msgspec

from usance.kernel.errors import Refused
from usance.log.contract import RECORD_BYTES_MAX, UNIT_BYTES_MAX

TRANSACTION_MS = 4_000
SESSION_MS = 6_000
MAX_POLL_MS = 60_000
FETCH_WAIT_MS = 25
BATCH_BYTES_MAX = RECORD_BYTES_MAX + 64 * 1024
"""A record at its bound with what Kafka adds; topics accept this much (rule 9)."""
QUEUE_KBYTES = 4 * UNIT_BYTES_MAX // 1024

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
Loose = Annotated[str, msgspec.Meta(pattern="^([a-z0-9][a-z0-9._-]{0,99})?$")]

_log = logging.getLogger("usance.kafka")
_log.addHandler(logging.NullHandler())
"""Where a program keeps logs, the client's own lines go there; a single command says what went wrong itself."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a cluster, and what this process is there.

    `prefix` stands before every topic, group and transactional id, so that several logs can share a
    cluster. `slot` names this process among the owners of a group: stable over restarts, never
    shared by two processes that run. `instance` makes a static member (a restart keeps its
    partitions). `replication` and `min_insync` are those of topics to be created; `flush_single` has a
    topic's only copy on disk before it is acknowledged. `session_ms` and `transaction_ms` bound how long a
    dead owner's partitions and its open unit wait (rule 11). `others` are topics of other programs that
    are read or written here; without them only those of the namespace are seen.
    """

    bootstrap: str
    namespace: Name = "usance"
    prefix: Loose = ""
    others: tuple[str, ...] = ()
    slot: Name = "0"
    instance: Loose = ""
    group_protocol: Literal["classic", "consumer"] = "classic"
    replication: Annotated[int, msgspec.Meta(ge=1)] = 3
    min_insync: Annotated[int, msgspec.Meta(ge=1)] = 2
    flush_single: bool = False
    session_ms: Annotated[int, msgspec.Meta(ge=2_000)] = SESSION_MS
    transaction_ms: Annotated[int, msgspec.Meta(ge=3_000)] = TRANSACTION_MS
    compression: Literal["none", "lz4"] = "none"
    security: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"
    allow_clear: bool = False
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password: str = ""

    def check(self) -> None:
        """Raise Refused for settings that lose or expose data, or contradict each other."""
        if not self.bootstrap.strip():
            raise _unsafe("no broker is named", "Give `bootstrap` as host:port, comma-separated.")
        if self.min_insync > self.replication:
            raise _unsafe(
                f"min_insync {self.min_insync} is more than the {self.replication} replicas",
                "No write would ever succeed: lower it, or raise `replication`.",
            )
        if self.replication > 1 and self.min_insync < 2:
            raise _unsafe(
                "an acknowledged record may be on one broker only",
                "Set `min_insync` to 2 or more where there are replicas.",
            )
        if self.security == "PLAINTEXT" and not self.allow_clear and not self._loopback():
            raise _unsafe(
                "records would cross the network in clear",
                "Set kafka.security to tls or scram, or kafka.i_accept_loss where the network is trusted.",
            )
        if self.security == "SASL_SSL" and not (self.username and self.password):
            raise _unsafe("SASL_SSL without user name and password", "Give both.")
        if self.security != "SASL_SSL" and (self.username or self.password):
            raise _unsafe(
                f"a password is set, and {self.security} would not use it",
                "Use SASL_SSL with it, or take it out.",
            )
        if bool(self.certificate_file) != bool(self.key_file):
            raise _unsafe(
                "a client certificate needs its key, and a key its certificate", "Add it."
            )
        if self.security == "PLAINTEXT" and (self.ca_file or self.certificate_file):
            raise _unsafe("certificates are set, and PLAINTEXT would not use them", "Use SSL.")

    def _loopback(self) -> bool:
        return all(_is_loopback(one) for one in self.bootstrap.split(","))

    def client(self, name: str) -> dict[str, Any]:
        """Return what every client takes: addresses, security, limits of a record."""
        found: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": f"{self.prefix}usance-{self.slot}-{name}",
            "security.protocol": self.security,
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            "message.max.bytes": BATCH_BYTES_MAX,
            "log_level": 3,
            "logger": _log,
        }
        if self.security == "SASL_SSL":
            found["sasl.mechanism"] = "SCRAM-SHA-512"
            found |= {"sasl.username": self.username, "sasl.password": self.password}
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
            "ssl.key.password": self.key_password,
        }
        return found | {option: said for option, said in files.items() if said}

    def consumer(self, name: str) -> dict[str, Any]:
        """Return what every consumer takes: committed records only, nothing automatic."""
        return self.client(name) | {
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "check.crcs": True,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": QUEUE_KBYTES,
        }

    def member(self, group: str) -> dict[str, Any]:
        """Return what a group member takes; a position outside the log is an error (rule 4)."""
        found = self.consumer("member") | {
            "group.id": self.prefix + group,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "max.poll.interval.ms": MAX_POLL_MS,
            "group.protocol": self.group_protocol,
        }
        if self.group_protocol == "classic":
            found |= {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self.session_ms,
                "heartbeat.interval.ms": self.session_ms // 6,
            }
        if self.instance:
            found["group.instance.id"] = f"{self.prefix}{group}-{self.instance}"
        return found

    def producer(self, name: str) -> dict[str, Any]:
        """Return what every producer takes."""
        return self.client(name) | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 100,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
            "message.timeout.ms": self.transaction_ms - 500,
            "compression.type": self.compression,
            "delivery.report.only.error": True,
        }

    def transactional(self, group: str, number: int) -> dict[str, Any]:
        """Return what a producer of the owner's pool takes (rules 11 and 12)."""
        return self.producer(f"units-{number}") | {
            "transactional.id": f"{self.prefix}{group}-{self.slot}-{number}",
            "transaction.timeout.ms": self.transaction_ms,
        }


def _unsafe(what: str, hint: str) -> Refused:
    return Refused("UNSAFE_KAFKA", what, hint=hint)


def _is_loopback(address: str) -> bool:
    host = address.strip().rsplit(":", 1)[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
