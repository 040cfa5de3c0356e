"""Who may do what on the cluster: one table of rights per role, as plain data.

A role is what a process runs as (or an auditor, who runs nothing). Its user is `<namespace>-<role>`: a SCRAM
user, or the common name of a client certificate. Nobody here may delete or alter a topic: that is the
administrator's, and an event's retention is evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.proof.following import NOTARY_DESK_GROUP, NOTARY_GROUP
from usance.engine.standby import PROJECTOR_GROUP, RESCREENING_GROUP
from usance.engine.topics import CONTEXTS, OWNED_KINDS, Topics

Role = Literal["owner", "intake", "notary", "projector", "saga-router", "web", "auditor"]
ROLES: tuple[Role, ...] = (
    "owner",
    "intake",
    "notary",
    "projector",
    "saga-router",
    "web",
    "auditor",
)

Operation = Literal["read", "write", "describe", "describe-configs"]
Thing = Literal["topic", "group", "transactional-id", "cluster"]


class Right(NamedTuple):
    """A right to a thing of the cluster; `prefixed` means every name that begins so."""

    thing: Thing
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


class Access(NamedTuple):
    """What a role reads and writes: kinds of topics in contexts, groups, and its transactions."""

    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    transactions: str = ""


ROUTER_GROUPS = ("usance-sagas", "usance-reactions", "usance-screening", "usance-fin-out")
SCAN_GROUP = "usance-scan"
"""The group that reading without a group goes by: the client asks for its coordinator all the same."""
COMMON = ("meta", "schemas", "lists")
"""Kinds that every role reads."""
OBSERVED = ("events", "outcomes", "dead-letters", "parked")
"""Kinds that read models are made of and people look at."""

ACCESS: dict[Role, Access] = {
    "owner": Access(
        reads=("commands", *OWNED_KINDS, "keys"),
        writes=("commands", *OWNED_KINDS, "replies", "schemas", "keys"),
        groups=(OWNER_GROUP,),
        transactions=OWNER_GROUP,
    ),
    "intake": Access(
        reads=("intake", "keys"), writes=("intake", "commands", "keys"), groups=("usance-intake",)
    ),
    "notary": Access(
        reads=("events", "outcomes", "dead-letters", "heads"),
        writes=("heads",),
        groups=(NOTARY_GROUP, NOTARY_DESK_GROUP),
    ),
    "projector": Access(reads=(*OBSERVED, "keys"), writes=("keys",), groups=(PROJECTOR_GROUP,)),
    "saga-router": Access(
        reads=("events", "outcomes", "keys"),
        writes=("commands", "keys"),
        groups=(*ROUTER_GROUPS, RESCREENING_GROUP),
    ),
    "web": Access(
        reads=("intake", "commands", *OBSERVED, "replies", "keys"),
        writes=("intake", "commands", "keys", "lists"),
    ),
    "auditor": Access(reads=("intake", "commands", *OWNED_KINDS, "replies", "heads")),
}
"""The table. `keys` holds wrapped keys alone: who opens or seals blocks reads it. Who seals writes what it mints;
who opens writes that it let go of what was destroyed, which an erasure waits for. A record there that the log
did not sign is Tampered, so that writing is no power over keys. Auditor and notary read none of it.
`lists` takes the bytes of versions that people propose; whoever loads one compares it with its event.
"""

_READ: tuple[Operation, ...] = ("read", "describe")
_WRITE: tuple[Operation, ...] = ("write", "describe")
_LOOK: tuple[Operation, ...] = ("describe", "describe-configs")


def user(namespace: str, role: Role) -> str:
    """Return the user of a role."""
    return f"{namespace}-{role}"


def rights(role: Role, namespace: str, prefix: str = "") -> list[Right]:
    """Return a role's rights; `prefix` stands before every name on the cluster."""
    access = ACCESS[role]
    topics = Topics(f"{prefix}{namespace}", 1)
    found = [
        # Settings and ends of topics are looked at when a process starts.
        Right("cluster", "kafka-cluster", _LOOK),
        Right("topic", f"{topics.namespace}.", _LOOK, prefixed=True),
    ]
    found += [Right("topic", n, _READ) for n in _names(topics, (*access.reads, *COMMON))]
    found += [Right("topic", n, _WRITE) for n in _names(topics, access.writes)]
    groups = (SCAN_GROUP, *access.groups)
    found += [Right("group", prefix + group, _READ) for group in groups]
    if role == "auditor":
        found.append(Right("group", f"{prefix}usance-", ("describe",), prefixed=True))
    if access.transactions:
        name = f"{prefix}{access.transactions}-"
        found.append(Right("transactional-id", name, _WRITE, prefixed=True))
    return found


def _names(topics: Topics, kinds: tuple[str, ...]) -> Iterator[str]:
    known = {settings.name for settings in topics.settings()}
    for kind in kinds:
        for context in CONTEXTS:
            if topics.name(context, kind) in known:
                yield topics.name(context, kind)
