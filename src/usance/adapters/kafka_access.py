"""Why a cluster does not let us in, in words and within seconds.

The client library swallows such failures: it goes on connecting and says nothing but that time is up. The
reason comes by its error callback alone, and only while somebody polls; a listener that speaks another
protocol gives no reason at all, so that we ask it ourselves.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Refused, Unavailable, UsanceError

CONNECT_S = 4.0
"""How long a first connection may take before its failure is told."""
ROUND_S = 0.2
KNOCK_S = 1.0
TOLD_MAX = 100
"""Errors that are kept while connecting; the client lives on and goes on telling."""
SILENT_S = 1.0
"""After which a listener that closes without a word is asked what it speaks."""
RIGHTS = (
    "`usance kafka setup --dry-run` prints the rights of each role; an administrator grants them"
)

_ALERTS = {
    "42": ("bad certificate", "it is missing, or signed by an authority that they do not trust"),
    "43": ("unsupported certificate", "they take none of this kind"),
    "44": ("certificate revoked", "it was revoked"),
    "45": ("certificate expired", "it has expired"),
    "46": ("certificate unknown", "it has expired or is not acceptable to them"),
    "48": ("unknown authority", "it is signed by an authority that they do not trust"),
    "116": ("certificate required", "they ask for one and none was shown"),
}
"""TLS alerts about a client's certificate (RFC 8446 section 6.2)."""

_FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("KAFKA_TOPIC_FORBIDDEN", "that topic"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("KAFKA_GROUP_FORBIDDEN", "that consumer group"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "KAFKA_TRANSACTIONAL_ID_FORBIDDEN",
        "that transactional id",
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("KAFKA_CLUSTER_FORBIDDEN", "the cluster itself"),
}


def forbidden(error: KafkaError, doing: str, user: str = "") -> Refused | None:
    """Return a denial in our words, or None when the error is no denial; `doing` is what was tried."""
    found = _FORBIDDEN.get(error.code())
    if found is None:
        return None
    code, thing = found
    who = f"user {user}" if user else "this user"
    return Refused(code, f"{doing}: {who} has no right to {thing}", hint=f"{RIGHTS}.")


def connect(options: Mapping[str, Any], clock: Clock, seconds: float = CONNECT_S) -> AdminClient:
    """Return an admin client that has reached the cluster.

    Raises Refused when the cluster does not let us in, Unavailable when nobody answers in time; both
    say what to do next.
    """
    told: deque[KafkaError] = deque(maxlen=TOLD_MAX)
    listening: dict[str, Any] = {**options, "error_cb": told.append}
    try:
        admin = AdminClient(listening)
    except KafkaException as error:
        raise Refused(
            "KAFKA_SETTINGS",
            f"the connection's settings cannot be used: {_first(error).str()}",
            hint="Correct kafka.* in usance.toml: each file must exist and be readable PEM.",
        ) from error
    began = clock.monotonic()
    until, silent = began + seconds, began + SILENT_S
    patience = ROUND_S
    while True:
        try:
            admin.list_topics(timeout=patience)
            return admin
        except KafkaException as error:
            last = _first(error)
        # Short at first, so that a refusal is told at once; longer then, for one who is slow.
        patience = max(ROUND_S, min(2 * patience, until - clock.monotonic()))
        admin.poll(0)
        reason = _refusal(told, options)
        if reason is None and told and clock.monotonic() > silent:
            reason = _wrong_protocol(told, options)
            silent = until
        if reason is not None:
            raise reason
        if clock.monotonic() > until:
            raise _silence(told, last, options)


def _refusal(told: Iterable[KafkaError], options: Mapping[str, Any]) -> UsanceError | None:
    """Return why we are not let in, once one of the callbacks has said so."""
    for error in told:
        said = error.str()
        alert = re.search(r"alert number (\d+)", said)
        if error.code() == KafkaError._AUTHENTICATION:
            return _bad_login(said, options)
        if error.code() == KafkaError._SSL and "wrong version number" in said:
            return _other_protocol("does not speak TLS", options)
        if error.code() == KafkaError._SSL and "verify failed" in said:
            return Refused(
                "KAFKA_AUTHORITY",
                f"the broker's certificate is not signed by {_authority(options)}, or is not for"
                f" {options.get('bootstrap.servers')}",
                hint="Name the authority that signed it as kafka.ca_file. Never switch checking off.",
            )
        if alert is not None and alert[1] in _ALERTS:
            name, why = _ALERTS[alert[1]]
            return Refused(
                "KAFKA_CERTIFICATE",
                f"the brokers refuse our certificate ({name}): {why}",
                hint="Set kafka.certificate_file and kafka.certificate_key_file to a valid pair,"
                " signed by the brokers' authority.",
            )
    return None


def _bad_login(said: str, options: Mapping[str, Any]) -> Refused:
    user = options.get("sasl.username", "")
    if "mechanism" in said and "nsupported" in said:
        return Refused(
            "KAFKA_MECHANISM",
            "the brokers do not take SCRAM-SHA-512",
            hint="Add it to sasl.enabled.mechanisms of the brokers' listener.",
        )
    return Refused(
        "KAFKA_LOGIN",
        f"the brokers do not know user {user} with this password",
        hint="Check kafka.username and kafka.password; an administrator makes users with"
        " `usance kafka setup --passwords FILE`.",
    )


def _other_protocol(does: str, options: Mapping[str, Any]) -> Refused:
    return Refused(
        "KAFKA_PROTOCOL",
        f"the listener at {options.get('bootstrap.servers')} {does}, and we came with"
        f" {options.get('security.protocol', 'plaintext').lower()}",
        hint="Set kafka.security to what the listener speaks (plaintext, tls or scram), or name"
        " another port of the cluster.",
    )


def _wrong_protocol(told: Iterable[KafkaError], options: Mapping[str, Any]) -> Refused | None:
    """Ask listeners that take a connection and close it without a reason whether they speak TLS."""
    servers = str(options.get("bootstrap.servers"))
    words = [e.str() for e in told if e.code() in (KafkaError._TRANSPORT, KafkaError._RESOLVE)]
    closed = [word for word in words if "SSL connection closed by peer" in word]
    if words and not closed:
        return None
    speaks = any(_speaks_tls(one) for one in servers.split(","))
    match str(options.get("security.protocol", "PLAINTEXT")).upper():
        case "PLAINTEXT" if speaks:
            return _other_protocol("speaks TLS", options)
        case "SSL" if speaks:
            return _other_protocol("speaks TLS and asks for user and password", options)
        case "SSL" | "SASL_SSL" if closed and not speaks:
            return _other_protocol("does not speak TLS", options)
    return None


def _silence(
    told: Iterable[KafkaError], last: KafkaError, options: Mapping[str, Any]
) -> UsanceError:
    """Return what to say of brokers that gave no reason in time."""
    servers = options.get("bootstrap.servers")
    unknown = [error.str() for error in told if error.code() == KafkaError._RESOLVE]
    if unknown:
        return Unavailable(
            f"no address is known for {servers}",
            hint="Check the names in log = kafka://HOST:PORT and this machine's name service.",
        )
    words = [error.str() for error in told if error.code() == KafkaError._TRANSPORT]
    said = (words[-1] if words else last.str()).split("(after")[0].strip()
    return Unavailable(
        f"no broker answers at {servers}: {said}",
        hint="Start the cluster, or correct log = kafka://HOST:PORT; `usance kafka doctor` tries"
        " again.",
    )


def _speaks_tls(address: str) -> bool:
    """Tell whether a listener answers a TLS greeting; nothing is sent and no certificate judged."""
    host, _, port = address.strip().rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), KNOCK_S) as line,
            context.wrap_socket(line),
        ):
            return True
    except (OSError, ValueError):
        return False


def _authority(options: Mapping[str, Any]) -> str:
    file = options.get("ssl.ca.location")
    return f"the authority in {file}" if file else "an authority that this machine trusts"


def _first(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found


def named(error: KafkaError, doing: str, user: str = "") -> UsanceError:
    """Return any error of the client in our words."""
    denied = forbidden(error, doing, user)
    if denied is not None:
        return denied
    said = f"{doing}: {error.str()} ({error.name()})"
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return NotFound(said, hint="`usance kafka setup` creates the topics.")
    return Unavailable(said, hint="See that the brokers are up; `usance kafka doctor` looks.")
