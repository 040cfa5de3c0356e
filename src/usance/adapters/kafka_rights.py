"""The effective access lists of a cluster: what users may do to a log's topics, held against the table."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
)

from usance.adapters.kafka_doctor import SETUP, SHOWN_MAX, Ward
from usance.adapters.kafka_roles import ROLES, rights, user
from usance.adapters.kafka_setup import ask, bindings, granted, has_authorizer
from usance.engine.findings import Finding, ok


def examine(ward: Ward, namespace: str) -> Iterator[Finding]:
    """Compare the rights of each role's user with the table, and name whoever else may touch the topics."""
    if not has_authorizer(ward.admin):
        return
    for role in ROLES:
        name = user(namespace, role)
        table = {
            line for r in rights(role, namespace, ward.prefix) for line, _ in bindings(name, r)
        }
        has = set(granted(ward.admin, name))
        missing, excess = sorted(table - has), sorted(has - table)
        if missing:
            said = f"{len(missing)} of {len(table)} missing, such as: {missing[0]}"
            yield Finding("access", "RIGHTS_MISSING", "wrong", f"rights of {name}", said, SETUP)
        if excess:
            said = f"{len(excess)} beyond the table, such as: {excess[0]}"
            yield Finding("access", "RIGHTS_EXCESS", "wrong", f"rights of {name}", said, SETUP)
        if not missing and not excess:
            yield ok("access", "ACCESS_LIST", f"rights of {name}", f"{len(has)}, as in the table")
    ours = {f"User:{user(namespace, role)}" for role in ROLES}
    foreign = [b for b in _on_topics(ward, namespace) if b.principal not in ours]
    for binding in foreign[:SHOWN_MAX]:
        yield _foreign(ward, binding)
    if len(foreign) > SHOWN_MAX:
        said = f"{len(foreign) - SHOWN_MAX} more rights of others"
        command = f"kafka-acls.sh --bootstrap-server {ward.servers} --list"
        yield Finding("access", "RIGHTS_FOREIGN", "wrong", "rights of others", said, command)
    if not foreign:
        yield ok("access", "RIGHTS_FOREIGN", "rights of others", "none on these topics")


def _on_topics(ward: Ward, namespace: str) -> list[AclBinding]:
    """Return every right to a topic of the log, whoever has it."""
    anything = AclBindingFilter(
        ConfigResource.Type.TOPIC,
        None,  # type: ignore[arg-type]  # any name, as the library documents it
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]  # anybody
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found = ask(lambda: {"all": ward.admin.describe_acls(anything)}, "reading rights")["all"]
    begins = f"{ward.prefix}{namespace}."
    return [
        b
        for b in found
        if b.permission_type == AclPermissionType.ALLOW and _reaches(str(b.name), b, begins)
    ]


def _reaches(name: str, binding: AclBinding, begins: str) -> bool:
    if name == "*":
        return True
    if binding.resource_pattern_type == ResourcePatternType.PREFIXED:
        return name.startswith(begins) or begins.startswith(name)
    return name.startswith(begins)


def _foreign(ward: Ward, binding: AclBinding) -> Finding:
    operation = _word(binding.operation).title().replace("_", "")
    pattern = _word(binding.resource_pattern_type)
    command = (
        f"kafka-acls.sh --bootstrap-server {ward.servers} --remove --force"
        f" --allow-principal {shlex.quote(str(binding.principal))} --allow-host"
        f" {shlex.quote(str(binding.host))} --operation {operation} --topic"
        f" {shlex.quote(str(binding.name))} --resource-pattern-type {pattern}"
    )
    said = f"{binding.principal} may {operation.lower()} {binding.name} ({pattern})"
    return Finding("access", "RIGHTS_FOREIGN", "wrong", "rights of others", said, command)


def _word(kind: object) -> str:
    return str(getattr(kind, "name", kind)).lower()
