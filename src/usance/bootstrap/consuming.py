"""`usance.consume`: a handler, a group and topics made into a consumer, on either log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_store import FolderLock
from usance.bootstrap.backend import open_cluster
from usance.config import KAFKA_SCHEME, load
from usance.engine import genesis
from usance.engine.groups import groups
from usance.engine.groups.consumer import BATCH_RECORDS_MAX, Consumer
from usance.engine.groups.consuming import TRANSIENT, Decode, Handler, Places, Policy, Retry, Work
from usance.engine.telemetry import Telemetry
from usance.engine.topics import GROUP_PREFIX
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Owned, Refused
from usance.log.contract import Log, Record
from usance.messages.catalogue import build, default
from usance.messages.envelope import Decoder, Encoder

AUTO = "auto"
ENGINE_MESSAGES = ("usance.engine.control",)


def consume(
    topics: str | Sequence[str],
    group: str,
    handler: Handler,
    *,
    log: str | Path | Log = "data",
    policy: Policy = "park",
    retry: Retry | None = None,
    transient: tuple[type[Exception], ...] = TRANSIENT,
    decode: str | Decode | None = AUTO,
    first: groups.First = "beginning",
    name: str = "",
    outputs: Sequence[str] = (),
    slot: str = "",
    namespace: str = "usance",
    batch_max: int = BATCH_RECORDS_MAX,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
) -> Consumer:
    """Join a group and return its consumer: `run()` it, or `step()` it in a test.

    `log` is a data folder, `kafka://HOST:PORT[,...]`, or an open log. `handler` gets one `Delivery` at
    a time and returns nothing, one `Emit` or several: they are written in the unit that moves the
    position. An error of `transient` is tried again (`retry`); `usance.Refused` is an answer and no
    failure; anything else makes a dead letter. `policy` says what becomes of the key then: `park`
    keeps its later records behind it, `skip` goes on with them, `halt` stops the partition before it.
    `decode` is `auto` (messages that this program knows), None, or a function of the record.
    `first` counts once, when the group is begun.

    On a cluster, `slot` names this process among the group's: stable over restarts, one running process
    each; `outputs` are topics outside the namespace to which the handler emits. How to reach the
    cluster safely stands in `usance.toml` and `USANCE_KAFKA_*`.

    Raises Refused or NotFound for settings that cannot be, Owned while another process consumes as
    the same group on the embedded log, Unavailable while the log cannot be reached.
    """
    inputs = [topics] if isinstance(topics, str) else list(topics)
    clock = clock or SystemClock()
    opened, release = _opened(log, group, clock, (*inputs, *outputs), slot)
    try:
        return _joined(
            opened,
            release,
            inputs,
            group,
            handler,
            policy=policy,
            retry=retry or Retry(),
            transient=transient,
            decode=decode,
            first=first,
            name=name or getattr(handler, "__qualname__", type(handler).__name__),
            namespace=namespace,
            batch_max=batch_max,
            clock=clock,
            telemetry=telemetry or Telemetry(clock=clock),
        )
    except BaseException:
        release()
        raise


def _joined(
    log: Log,
    release: Callable[[], None],
    inputs: list[str],
    group: str,
    handler: Handler,
    *,
    policy: Policy,
    retry: Retry,
    transient: tuple[type[Exception], ...],
    decode: str | Decode | None,
    first: groups.First,
    name: str,
    namespace: str,
    batch_max: int,
    clock: Clock,
    telemetry: Telemetry,
) -> Consumer:
    if policy not in ("park", "skip", "halt"):
        raise Refused("BAD_POLICY", f"no policy {policy!r}", hint="Take park, skip or halt.")
    catalogue = build(ENGINE_MESSAGES) if genesis.read(log, namespace) is None else default()
    found = groups.begin(
        log, catalogue, namespace=namespace, name=group, inputs=inputs, first=first
    )
    registry = groups.registry(log, catalogue, found)
    decoder = Decoder(catalogue=catalogue, registry=registry)
    work = Work(
        group,
        handler,
        name,
        _decoding(decode, decoder),
        policy,
        retry,
        transient,
        Places(log),
        found.log_id,
        clock,
        telemetry,
    )
    consumer = _Releasing(
        log,
        found,
        work,
        Encoder(log_id=found.log_id, catalogue=catalogue, registry=registry),
        decoder,
        inputs=inputs,
        batch_max=batch_max,
    )
    consumer.release = release
    consumer.open()
    return consumer


class _Releasing(Consumer):
    """A consumer that gives its log back when it closes."""

    release: Callable[[], None]

    def close(self, *, clean: bool = True) -> None:
        """Leave the group and close the log if it was opened for this consumer."""
        try:
            super().close(clean=clean)
        finally:
            self.release()


def _opened(
    log: str | Path | Log, group: str, clock: Clock, topics: tuple[str, ...], slot: str
) -> tuple[Log, Callable[[], None]]:
    """Return the log that is meant, and how to give it back."""
    if not isinstance(log, str | Path):
        return log, _nothing
    if str(log).startswith(KAFKA_SCHEME):
        settings = load(None, {"log": str(log), "kafka.slot": slot or None}).settings
        cluster = open_cluster(settings, clock, topics)
        return cluster, cluster.close
    folder = Path(log)
    try:
        # One lock per group: a group stands beside the owner of the folder, not in its place.
        lock = FolderLock(folder, f"{GROUP_PREFIX}{Path(group).name}.lock")
    except Owned as owned:
        raise Owned(
            f"group {group} is being consumed by process {owned.pid}",
            pid=owned.pid,
            hint="Stop that one first: on the embedded log a group has one member.",
        ) from owned
    try:
        opened = SqliteLog.open(folder / "log.sqlite", lock=lock, clock=clock)
    except BaseException:
        lock.close()
        raise

    def release() -> None:
        opened.close()
        lock.close()

    return opened, release


def _nothing() -> None:
    """Give nothing back: the log is the caller's."""


def _decoding(decode: str | Decode | None, decoder: Decoder) -> Decode:
    if decode is None:
        return _raw
    if not isinstance(decode, str):
        return decode
    if decode != AUTO:
        raise Refused(
            "BAD_DECODE", f"no decoding {decode!r}", hint="Take auto, None or a function."
        )
    ours = {entry.fullname.encode() for entry in decoder.catalogue.types()}

    def known(record: Record) -> Any:
        """Decode what says that it is a message of ours: then it must be one."""
        kind = next((value for name, value in record.headers if name == "ce_type"), None)
        if kind is None or kind not in ours or record.value is None:
            return None
        return decoder.message(record.headers, record.value)

    return known


def _raw(_: Record) -> None:
    """Leave the bytes to the handler."""
