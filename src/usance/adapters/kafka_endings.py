"""How a membership in a group ends, in words, and what its metadata says."""

from __future__ import annotations

import struct

from confluent_kafka import KafkaError

from usance.kernel.errors import Fenced, Tampered, UsanceError
from usance.log.contract import TopicPartition


def ends(error: KafkaError) -> bool:
    """Tell whether a membership is over: what a poll returns does not say so by its `fatal`."""
    return error.fatal() or error.code() == KafkaError._FATAL


def ended(group: str, error: KafkaError) -> UsanceError:
    """Return what to raise when the client says that its membership is over."""
    if "group.instance.id" in error.str():
        return Fenced(
            f"another process is the member of group {group} that this one was",
            hint="give each process a slot of its own, and see that only one runs",
        )
    return over(group, f"{error.str()} ({error.name()})")


def over(group: str, why: str) -> Fenced:
    """Return what ends the process: its client reads no more, and nobody else can join in its place."""
    return Fenced(
        f"the membership of group {group} is over: {why}",
        hint="start this process again: it joins anew and reads on where it stood",
    )


def parsed(token: bytes) -> tuple[int, str]:
    """Return generation and member id of group metadata; (-1, "") for none."""
    if not token.startswith(b"CGMDv2:"):
        return -1, ""
    generation: int = struct.unpack_from("<i", token, 7)[0]
    parts = token[11:].split(b"\0")
    return generation, parts[1].decode() if len(parts) > 1 else ""


def outside(group: str, partition: TopicPartition, offset: int, start: int, end: int) -> Tampered:
    """Return what to raise for a position outside of the log."""
    return Tampered(
        f"group {group} stands at offset {offset} of {partition.topic} partition"
        f" {partition.partition}, which holds {start} to {end}",
        hint="the log was cut or replaced: restore it, or move the group with `usance topic seek`",
    )
