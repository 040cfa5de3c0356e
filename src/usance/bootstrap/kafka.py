"""Caring for a cluster: setting it up, and what a start and `usance kafka doctor` demand of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from usance.adapters import kafka_doctor, kafka_flow, kafka_rights
from usance.adapters.kafka_access import connect
from usance.adapters.kafka_doctor import Ward
from usance.adapters.kafka_roles import ROLES, Right, rights, user
from usance.adapters.kafka_setup import (
    Step,
    passwords_in,
    settle_rights,
    settle_topics,
    settle_users,
)
from usance.bootstrap.backend import cluster_settings, open_cluster
from usance.bootstrap.store import complete_log
from usance.config import Settings
from usance.engine.findings import Finding
from usance.engine.topics import Topics
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Refused
from usance.kernel.ids import RandomIds

PARTITIONS = 12
"""Partitions per context of a new log on a cluster, unless the settings say otherwise."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Return what a client of the cluster is told; raises Refused where no cluster is named."""
    if not settings.bootstrap_servers:
        raise Refused(
            "NO_CLUSTER",
            "the log is in the data folder, and no cluster is named",
            hint="Name one: --log kafka://HOST:PORT, or log in usance.toml.",
        )
    return cluster_settings(settings).client("care") | {"log_level": 0}


def setup(
    settings: Settings,
    *,
    passwords: Path | None = None,
    dry_run: bool = False,
    clock: Clock | None = None,
) -> Iterator[Step]:
    """Make the cluster ready for a log, or mend it; yields what was done to each thing.

    `settings.partitions` counts where there is no log yet.
    """
    clock = clock or SystemClock()
    found = ward(settings, clock)
    kafka, admin = settings.kafka, found.admin
    yield from settle_topics(
        admin,
        found.topics,
        replication=kafka.replication,
        clock=clock,
        prefix=kafka.prefix,
        flush=not kafka.i_accept_loss,
        dry_run=dry_run,
    )
    if not dry_run:
        log = open_cluster(settings)
        try:
            done = "create" if complete_log(log, settings, clock) else "keep"
        finally:
            log.close()
        yield Step("log", settings.namespace, done, "genesis, topic records and first positions")
    if passwords is not None:
        words = passwords_in(passwords, RandomIds(), dry_run=dry_run)
        yield from settle_users(admin, settings.namespace, words, dry_run=dry_run)
    yield from settle_rights(admin, settings.namespace, prefix=kafka.prefix, dry_run=dry_run)


def ward(settings: Settings, clock: Clock | None = None) -> Ward:
    """Return what the doctor looks at; raises as `connect` does."""
    clock = clock or SystemClock()
    options = client_options(settings)
    admin = connect(options, clock)
    kafka = settings.kafka
    events = kafka.prefix + Topics(settings.namespace, 1).name("trade", "events")
    there = admin.list_topics(timeout=10.0).topics
    count = len(there[events].partitions) if events in there else settings.partitions
    topics = Topics(settings.namespace, count).settings()
    times = kafka.session_ms, kafka.transaction_ms
    return Ward(admin, options, topics, clock, kafka.prefix, kafka.group_protocol, *times)


def examine(settings: Settings, clock: Clock | None = None) -> Iterator[Finding]:
    """Look at everything about the cluster that can be wrong, and change nothing."""
    found = ward(settings, clock)
    yield from kafka_doctor.settings(found)
    yield from kafka_rights.examine(found, settings.namespace)
    yield from kafka_flow.transactions(found)
    yield from kafka_flow.groups(found)


def quick(settings: Settings) -> Iterator[Finding]:
    """Look at settings and rights alone: nothing there is waited for."""
    found = ward(settings)
    yield from kafka_doctor.settings(found)
    yield from kafka_rights.examine(found, settings.namespace)


def check_safe(settings: Settings, clock: Clock | None = None) -> list[Finding]:
    """Raise Refused when the cluster can lose what it acknowledged and nobody said that they accept it.

    Returns what was accepted by `kafka.i_accept_loss`.
    """
    return kafka_doctor.demand_safe(ward(settings, clock), accept_loss=settings.kafka.i_accept_loss)


def rights_table(settings: Settings) -> list[tuple[str, Right]]:
    """Return every right that `setup` grants, with the user who gets it."""
    name = settings.namespace
    return [
        (user(name, role), right)
        for role in ROLES
        for right in rights(role, name, settings.kafka.prefix)
    ]
