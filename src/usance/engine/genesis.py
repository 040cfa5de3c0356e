"""The genesis and topic records: what a log is, written once, checked at every start (rule 1)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from usance.engine.topics import Topics
from usance.kernel.clock import Clock
from usance.kernel.errors import Tampered, Unavailable
from usance.kernel.ids import Ids
from usance.log.contract import Log, Output, TopicPartition, TopicSettings

FORMAT_VERSION = 1
COMPLETE_S = 15.0
"""How long a cluster is given to list topics that it should have: a broker that starts knows them one by one."""
LOOK_S = 0.25
GENESIS_KEY = b"genesis"
TOPIC_KEY = b"topic/"


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """A log's birth record: `clock` is log or book, `hash` names the placement function.

    `secret` is the id (hex) of the key from which pseudonyms and body hashes are made, where private blocks
    are sealed; empty where they stand in clear.
    """

    log_id: str
    namespace: str
    partitions: int
    hash: str = "murmur2"
    format: int = FORMAT_VERSION
    clock: str = "log"
    clear_blocks: bool = True
    secret: str = ""
    founded_at: int = 0


class TopicRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One topic as it was created; a changed topic id means that it was created again."""

    name: str
    kind: str
    partitions: int
    topic_id: str


def found(
    log: Log,
    *,
    namespace: str,
    partitions: int,
    clock: str,
    ids: Ids,
    now: int,
    make_secret: Callable[[], str] | None = None,
) -> Genesis:
    """Write the genesis and create all topics of an empty log; returns the genesis.

    `make_secret` makes the key of a log that seals private blocks, once its topics are there, and returns
    the key's id; without it they stand in clear.

    A crash on the way leaves empty topics, which the next try takes over. Raises Tampered beside
    records: their genesis is missing, or they are those of another namespace.
    """
    for settings in log.topics().values():
        places = [TopicPartition(settings.name, number) for number in range(settings.partitions)]
        if any(log.ends(places).values()):
            raise Tampered(
                f"{settings.name} has records, but no genesis of {namespace} is in the log",
                hint="Check the namespace in usance.toml; else restore the last good backup.",
            )
    topics = Topics(namespace, partitions)
    meta = TopicPartition(topics.name("system", "meta"), 0)
    log.create_topic(topics.settings()[0])
    outputs = [_topic_output(meta.topic, log.create_topic(s)) for s in topics.settings()]
    genesis = Genesis(
        log_id=ids.fresh(),
        namespace=namespace,
        partitions=partitions,
        clock=clock,
        clear_blocks=make_secret is None,
        secret=make_secret() if make_secret is not None else "",
        founded_at=now,
    )
    outputs.insert(0, Output(meta.topic, 0, GENESIS_KEY, msgspec.json.encode(genesis)))
    log.append(outputs)
    return genesis


def read(log: Log, namespace: str) -> Genesis | None:
    """Return the genesis of a log, or None when there is none."""
    found = raw(log, namespace)
    return msgspec.json.decode(found, type=Genesis) if found is not None else None


def raw(log: Log, namespace: str) -> bytes | None:
    """Return the genesis of a log as it is stored, or None when there is none."""
    name = Topics(namespace, 1).name("system", "meta")
    if name not in log.topics():
        return None
    for record in log.scan(TopicPartition(name, 0), 0):
        if record.key == GENESIS_KEY and record.value:
            return record.value
    return None


class _Missing(Exception):
    """Something is not there, or not there yet."""

    def __init__(self, error: Tampered) -> None:
        super().__init__()
        self.error = error


def check(log: Log, namespace: str, patience: Clock | None = None) -> Genesis:
    """Return the genesis after holding it and the topic records against the log.

    `patience` is the clock by which a cluster is waited for that does not list all of its topics yet. Raises
    Tampered when records are missing beside topics with data or a topic was created again, Unavailable when the
    log's format is newer than this program.
    """
    until = patience.monotonic() + COMPLETE_S if patience is not None else 0.0
    while True:
        try:
            return _check(log, namespace)
        except _Missing as missing:
            if patience is None or patience.monotonic() > until:
                raise missing.error from None
        patience.sleep(LOOK_S)


def _check(log: Log, namespace: str) -> Genesis:
    genesis = read(log, namespace)
    topics = log.topics()
    if genesis is None:
        raise _Missing(
            Tampered(
                "the log has topics but no genesis record",
                hint="It was cut or is not ours: restore a backup, or start on an empty data folder.",
            )
        )
    if genesis.format > FORMAT_VERSION:
        raise Unavailable(
            f"the log has format {genesis.format}, this program reads {FORMAT_VERSION}",
            hint="Install the version of usance that wrote it, or a newer one.",
        )
    meta = TopicPartition(Topics(namespace, 1).name("system", "meta"), 0)
    for record in log.scan(meta, 0):
        if record.key is None or not record.key.startswith(TOPIC_KEY) or not record.value:
            continue
        noted = msgspec.json.decode(record.value, type=TopicRecord)
        real = topics.get(noted.name)
        if real is not None and (real.topic_id, real.partitions) == (
            noted.topic_id,
            noted.partitions,
        ):
            continue
        error = Tampered(
            f"topic {noted.name} is not the one that was created for this log",
            hint="It was deleted or created again: restore the last good backup.",
        )
        raise error if real is not None else _Missing(error)
    return genesis


def complete(log: Log, genesis: Genesis) -> None:
    """Create and record topics that this program knows and the log's records do not name yet."""
    topics = Topics(genesis.namespace, genesis.partitions)
    meta = TopicPartition(topics.name("system", "meta"), 0)
    recorded = {record.key for record in log.scan(meta, 0)}
    for settings in topics.settings():
        if TOPIC_KEY + settings.name.encode() not in recorded:
            log.append([_topic_output(meta.topic, log.create_topic(settings))])


def _topic_output(meta: str, settings: TopicSettings) -> Output:
    record = TopicRecord(
        name=settings.name,
        kind=settings.kind,
        partitions=settings.partitions,
        topic_id=settings.topic_id,
    )
    return Output(meta, 0, TOPIC_KEY + settings.name.encode(), msgspec.json.encode(record))
