"""What one process is and does, for people: its log, roles, partitions, parts, codec and lists."""

from __future__ import annotations

import os
from typing import Protocol

import msgspec

from usance.aml.lists import ListSummary
from usance.bootstrap.observing import Observed
from usance.config import Settings
from usance.kernel import native


class PartFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One running part. `state`: works | stuck | waits; `age` is seconds since it came round."""

    name: str
    state: str
    age: int
    trouble: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `log` is embedded or kafka, `address` its file or brokers; `owns` as `trade.p0`.

    `lists` is empty while they are being compiled, and where no part of this process screens.
    """

    pid: int
    log: str
    address: str
    namespace: str
    log_id: str
    clock: str
    views: str
    roles: list[str]
    owns: list[str]
    parts: list[PartFacts]
    codec: str
    lists: list[ListSummary]


class Running(Observed, Protocol):
    """What is asked of a running process, beside its metrics."""

    settings: Settings
    roles: frozenset[str]


def standing(runtime: Running) -> Standing:
    """Look at a process once."""
    settings, genesis = runtime.settings, runtime.store.genesis
    kafka = bool(settings.bootstrap_servers)
    return Standing(
        pid=os.getpid(),
        log="kafka" if kafka else "embedded",
        address=settings.bootstrap_servers if kafka else str(runtime.store.folder.log),
        namespace=settings.namespace,
        log_id=genesis.log_id,
        clock=genesis.clock,
        views=settings.views.partition("://")[0],
        roles=sorted(runtime.roles),
        owns=sorted(f"{p.context}.p{p.partition}" for p in list(runtime.owner.states)),
        parts=_parts(runtime),
        codec=native.RUNNING,
        lists=_lists(runtime),
    )


def _parts(runtime: Running) -> list[PartFacts]:
    stuck, trouble = runtime.vitals.stuck(), dict(runtime.trouble)
    return [
        PartFacts(
            name=name,
            state="stuck" if name in stuck else "waits" if name in trouble else "works",
            age=round(age),
            trouble=trouble.get(name, ""),
        )
        for name, age in sorted(runtime.vitals.ages().items())
    ]


def _lists(runtime: Running) -> list[ListSummary]:
    if runtime.screener is None or not runtime.screener.ready:
        return []
    return list(runtime.screener.screener().summaries(runtime.clock.now()))
