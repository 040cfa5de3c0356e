"""Which log the settings mean: the embedded one in the data folder, or a Kafka cluster."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_store import FolderLock
from usance.config import Settings
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.topics import Topics
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Owned, Unavailable
from usance.log.contract import Log

if TYPE_CHECKING:
    from usance.adapters.kafka_log import KafkaLog
    from usance.adapters.kafka_settings import KafkaSettings

SECURITY: dict[str, Literal["PLAINTEXT", "SSL", "SASL_SSL"]] = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "scram": "SASL_SSL",
}


def open_log(
    file: Path,
    settings: Settings,
    clock: Clock | None = None,
    *,
    owner: bool = True,
    writes: bool = False,
) -> Log:
    """Open the log: `file` where it is embedded, else the cluster that the settings name.

    An embedded log opened as `owner` is locked for this process; on a cluster the consumer group
    decides who owns what, and `writes` says that records will be appended soon. Raises Unavailable where it
    cannot be reached, with what to do.
    """
    if settings.bootstrap_servers:
        return open_cluster(settings, writes=writes)
    return SqliteLog.open(file, owner=owner, clock=clock or SystemClock())


def open_cluster(
    settings: Settings,
    clock: Clock | None = None,
    others: tuple[str, ...] = (),
    *,
    writes: bool = False,
) -> KafkaLog:
    """Open the log on the cluster that the settings name; `others` are topics of other programs.

    `writes` says that records will be appended soon: what that needs is made ready.
    """
    from usance.adapters.kafka_log import KafkaLog

    found = cluster_settings(settings, others)
    return KafkaLog.open(found, clock=clock or SystemClock(), writes=writes)


def cluster_settings(settings: Settings, others: tuple[str, ...] = ()) -> KafkaSettings:
    """Return what the settings say of a cluster, in the words of its adapter."""
    from usance.adapters.kafka_settings import KafkaSettings

    said = settings.kafka
    return KafkaSettings(
        bootstrap=settings.bootstrap_servers,
        namespace=settings.namespace,
        prefix=said.prefix,
        others=others,
        slot=said.slot,
        instance=said.instance,
        group_protocol=said.group_protocol,
        session_ms=said.session_ms,
        transaction_ms=said.transaction_ms,
        replication=said.replication,
        min_insync=min(2, said.replication),
        flush_single=not said.i_accept_loss,
        security=SECURITY[said.security],
        allow_clear=said.i_accept_loss,
        username=said.username,
        password=said.password,
        ca_file=said.ca_file,
        certificate_file=said.certificate_file,
        key_file=said.certificate_key_file,
        key_password=said.certificate_key_password,
    )


def resident(settings: Settings) -> Settings:
    """Return the settings of a process that stays: a static member of its groups under its slot."""
    kafka = settings.kafka
    return replace(settings, kafka=replace(kafka, instance=kafka.instance or kafka.slot))


def passing(settings: Settings) -> Settings:
    """Return the settings of one command: its slot is its own, so that two never fence each other."""
    slot = f"{settings.kafka.slot}-{os.getpid()}"
    return replace(settings, kafka=replace(settings.kafka, slot=slot, instance=""))


def log_exists(file: Path, settings: Settings) -> bool:
    """Tell whether there is a log where the settings say."""
    if not settings.bootstrap_servers:
        return file.exists()
    log = open_cluster(settings)
    try:
        return Topics(settings.namespace, 1).name("system", "meta") in log.topics()
    finally:
        log.close()


def demand_log(file: Path, settings: Settings) -> None:
    """Raise Unavailable where there is no log."""
    if log_exists(file, settings):
        return
    if settings.bootstrap_servers:
        raise Unavailable(
            f"there is no book of namespace {settings.namespace} on {settings.log}",
            hint=f"Set it up first: usance kafka setup --log {settings.log}",
        )
    raise Unavailable(
        f"there is no book in {file.parent}",
        hint="`usance start --demo` plays the sample book; --data names another folder.",
    )


def remove_log(settings: Settings) -> None:
    """Delete every topic of a log on a cluster: for a demo that leaves nothing behind."""
    assert settings.kafka.prefix, "only a log under a prefix of its own is ever removed"
    log = open_cluster(settings)
    try:
        log.remove_topics()
    finally:
        log.close()


def demand_embedded(settings: Settings, what: str) -> None:
    """Raise Unavailable for what only an embedded log's folder can do."""
    if settings.bootstrap_servers:
        raise Unavailable(
            f"{what} is for the embedded log; a cluster's log is kept by its brokers",
            hint="Use the cluster's own replication and backups; the read models rebuild from it.",
        )


def owners_running(settings: Settings) -> int:
    """Return how many processes of the cluster are members of the owner's group."""
    log = open_cluster(settings)
    try:
        return log.members(OWNER_GROUP)
    finally:
        log.close()


class FolderElection:
    """Who keeps the files of a data folder that several processes share: the holder of its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: FolderLock | None = None

    def held(self) -> bool:
        """Tell whether the lock is ours, having tried to get it."""
        if self._lock is None:
            with suppress(Owned):
                self._lock = FolderLock(self.root)
        return self._lock is not None

    def close(self) -> None:
        """Give the folder up."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
