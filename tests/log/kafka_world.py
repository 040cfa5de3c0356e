"""Logs of a test's own on a shared broker, and raw requests that no client would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.kernel.clock import Clock
from usance.kernel.ids import RandomIds
from usance.log.contract import Batch, Output, Receipt, Start, TopicSettings, Unit
from usance.testing.conformance import (
    C0,
    C1,
    COMMANDS,
    EVENTS,
    GROUP,
    OUTCOMES,
    Owner,
    gathered,
    out,
)


def fresh_prefix() -> str:
    """Return a prefix that nobody has used."""
    return f"{RandomIds().fresh()[-12:]}-"


def kafka_log(
    kafka: str, prefix: str, slot: str = "a", clock: Clock | None = None, **more: Any
) -> KafkaLog:
    """Return a log on the broker at `kafka`."""
    settings = KafkaSettings(
        bootstrap=kafka, prefix=prefix, slot=slot, replication=1, min_insync=1, **more
    )
    return KafkaLog.open(settings, clock=clock)


def with_topics(log: KafkaLog, commands: int = 4) -> KafkaLog:
    """Return the log with its topics, first positions and some commands in partition 0."""
    for name in (COMMANDS, EVENTS, OUTCOMES):
        log.create_topic(TopicSettings(name, name.rsplit(".", 1)[1], 2))
    log.set_positions(GROUP, {C0: 0, C1: 0})
    log.append([out(C0, b"%d" % n) for n in range(commands)])
    return log


def batch_of(owner: Owner, count: int) -> Batch:
    """Return exactly so many records of partition 0."""
    batch = gathered(owner.log, owner.member, count)
    assert batch.count == count, batch
    return batch


def unit_of(owner: Owner, batch: Batch, outputs: Sequence[Output], foot: Output) -> Unit:
    """Return a unit with a footer."""
    return owner.unit(batch, outputs, [foot])


Last = Receipt | Start


# --- the wire -------------------------------------------------------------------------------


def _ask(kafka: str, request: bytes) -> bytes:
    host, port = kafka.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5.0) as line:
        line.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", _read(line, 4))[0]
        return _read(line, size)


def _read(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += line.recv(size - len(found))
    return found


def end_transaction(kafka: str, name: str, producer: tuple[int, int], *, commit: bool) -> int:
    """Send EndTxn as a client of transactions v1 would, late; returns the broker's error code."""
    text = name.encode()
    body = struct.pack(">h", len(text)) + text + struct.pack(">qhb", *producer, commit)
    head = struct.pack(">hhi", 26, 1, 7) + struct.pack(">h", 4) + b"late"
    return int(struct.unpack(">h", _ask(kafka, head + body)[8:10])[0])


def producer_of(kafka: str, name: str) -> tuple[int, int]:
    """Return producer id and epoch of a transactional id (DescribeTransactions v0)."""
    text = name.encode()
    head = struct.pack(">hhi", 65, 0, 8) + struct.pack(">h", 4) + b"late" + b"\0"
    answer = _ask(kafka, head + b"\x02" + bytes([len(text) + 1]) + text + b"\0")
    at = 4 + 1 + 4 + 1  # correlation, tags, throttle, array length
    error = struct.unpack_from(">h", answer, at)[0]
    assert error == 0, f"DescribeTransactions: {error}"
    at += 2
    for _ in ("id", "state"):
        at += answer[at]
    at += 4 + 8  # timeout, start: both strings were compact, with their length byte counted in
    found: tuple[int, int] = struct.unpack_from(">qh", answer, at)
    return found
