"""Making a cluster ready: topics with their settings, users with passwords, rights per role.

Each function can be run again: what is there is kept, what differs is mended, and each says what it did or,
with `dry_run`, what it would do.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from usance.adapters.kafka_access import named
from usance.adapters.kafka_roles import ROLES, Right, Role, rights, user
from usance.adapters.kafka_topics import Wanted, fits, wanted
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Refused, Unavailable, Unreadable
from usance.kernel.ids import Ids
from usance.log.contract import TopicSettings

ASK_S = 15.0
BROKER_S = 4.0
"""How long one broker may take to tell its settings: it may be down."""
SHOW_S = 10.0
"""How long a topic may take to show after it was created."""
PAUSE_S = 0.05
ITERATIONS = 8192
"""Rounds of SCRAM's hash; the broker's least is 4096."""

PASSING = frozenset({
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR, KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT,
})  # fmt: skip
"""Answers of a cluster that is finding its feet."""

T = TypeVar("T")
_CLOCK: Clock = SystemClock()

_THINGS = {
    "topic": ConfigResource.Type.TOPIC,
    "group": ConfigResource.Type.GROUP,
    "transactional-id": ConfigResource.Type.TRANSACTIONAL_ID,
    "cluster": ConfigResource.Type.BROKER,
}
_OPERATIONS = {
    "read": AclOperation.READ,
    "write": AclOperation.WRITE,
    "describe": AclOperation.DESCRIBE,
    "describe-configs": AclOperation.DESCRIBE_CONFIGS,
}


class Step(NamedTuple):
    """One thing that was looked at: what, and whether it was kept, created, changed or removed."""

    thing: str
    name: str
    done: str
    detail: str = ""


def ask(
    call: Callable[[], Mapping[Any, Future[T]]], doing: str, seconds: float = ASK_S
) -> dict[Any, T]:
    """Return the results of an administrative request; raises in our words.

    What passes by itself (a leader or a coordinator that is being chosen) is asked again.
    """
    until = _CLOCK.monotonic() + seconds
    while True:
        try:
            return {key: future.result(seconds) for key, future in call().items()}
        except KafkaException as error:
            failed: KafkaError = error.args[0]
            passes = failed.retriable() or failed.code() in PASSING
            if not passes or _CLOCK.monotonic() > until:
                raise named(failed, doing) from error
        except Late:
            raise Unavailable(
                f"{doing}: no answer within {seconds:.0f} s",
                hint="See that the brokers are up; `usance kafka doctor` looks.",
            ) from None
        _CLOCK.sleep(PAUSE_S)


# -- topics


def settle_topics(
    admin: AdminClient,
    topics: Sequence[TopicSettings],
    *,
    replication: int,
    clock: Clock,
    prefix: str = "",
    flush: bool = True,
    dry_run: bool = False,
) -> list[Step]:
    """Create the topics that are missing and mend the settings of those that are there."""
    there = admin.list_topics(timeout=ASK_S).topics
    new = [t for t in topics if prefix + t.name not in there]
    old = [t for t in topics if prefix + t.name in there]
    steps = [Step("topic", prefix + t.name, "create", _in_words(t, replication)) for t in new]
    if new and not dry_run:
        made = [
            NewTopic(
                prefix + t.name,
                t.partitions,
                replication,
                config={n: w.value for n, w in wanted(t, replication, flush=flush).items()},
            )
            for t in new
        ]
        _demand_brokers(admin, replication)
        ask(lambda: admin.create_topics(made), "creating topics")
        _await(admin, [prefix + t.name for t in new], clock)
    for topic in old:
        copies = min(len(p.replicas) for p in there[prefix + topic.name].partitions.values())
        steps.append(
            _mend(admin, topic, prefix, wanted(topic, copies, flush=flush), clock, dry_run=dry_run)
        )
    return steps


def _demand_brokers(admin: AdminClient, replication: int) -> None:
    brokers = len(admin.list_topics(timeout=ASK_S).brokers)
    if brokers < replication:
        raise Refused(
            "KAFKA_REPLICATION",
            f"{replication} copies are wanted and the cluster has {brokers} brokers",
            hint="Start more brokers; for a trial on one, set kafka.replication = 1.",
        )


def _await(admin: AdminClient, names: Iterable[str], clock: Clock) -> None:
    until = clock.monotonic() + SHOW_S
    waiting = set(names)
    while True:
        shown = admin.list_topics(timeout=ASK_S).topics
        waiting -= {n for n in waiting if n in shown and shown[n].partitions}
        if not waiting:
            return
        if clock.monotonic() > until:
            raise Unavailable(
                f"{min(waiting)} was created and does not show",
                hint="The cluster's controller may be busy: run `usance kafka setup` again.",
            )
        clock.sleep(PAUSE_S)


def options_of(admin: AdminClient, kind: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics or brokers by name."""
    resources = [ConfigResource(kind, name) for name in names]
    # The client takes any number of topics in one call, and one broker.
    calls = [[r] for r in resources] if kind == ConfigResource.Type.BROKER else [resources]
    found: dict[ConfigResource, dict[str, ConfigEntry]] = {}
    for call in calls:
        seconds = BROKER_S if kind == ConfigResource.Type.BROKER else ASK_S
        found |= ask(partial(admin.describe_configs, call), "reading settings", seconds)
    return {
        resource.name: {name: entry.value or "" for name, entry in entries.items()}
        for resource, entries in found.items()
    }


def _mend(
    admin: AdminClient,
    topic: TopicSettings,
    prefix: str,
    want: Mapping[str, Wanted],
    clock: Clock,
    *,
    dry_run: bool,
) -> Step:
    name = prefix + topic.name
    wrong = _wrong(admin, name, want)
    if not wrong:
        return Step("topic", name, "keep")
    if not dry_run:
        changes = [
            ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
            for setting, (_, value) in wrong.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=changes)
        ask(lambda: admin.incremental_alter_configs([resource]), f"setting {name}")
        until = clock.monotonic() + SHOW_S
        # The controller has it before the brokers do.
        while _wrong(admin, name, want) and clock.monotonic() < until:
            clock.sleep(PAUSE_S)
    detail = ", ".join(f"{n} {old} -> {new}" for n, (old, new) in wrong.items())
    return Step("topic", name, "change", detail)


def _wrong(admin: AdminClient, name: str, want: Mapping[str, Wanted]) -> dict[str, tuple[str, str]]:
    """Return the settings of a topic that do not serve, each with its value and the one wanted."""
    there = options_of(admin, ConfigResource.Type.TOPIC, [name])[name]
    return {
        setting: (there.get(setting, ""), one.value)
        for setting, one in want.items()
        if not fits(setting, there.get(setting, ""), one.value)
    }


def _in_words(topic: TopicSettings, replication: int) -> str:
    kept = {"keep": "kept for ever", "compact": "compacted"}
    days = topic.retention_ms // 86_400_000
    return (
        f"{topic.partitions} partitions, {replication} copies, "
        f"{kept.get(topic.cleanup, f'deleted after {days} days')}"
    )


# -- users


def passwords_in(file: Path, ids: Ids, *, dry_run: bool = False) -> dict[Role, str]:
    """Return the passwords by role in a TOML file, which is made with fresh ones when it is missing."""
    if not file.exists():
        made: dict[Role, str] = {
            role: (ids.fresh() + ids.fresh()).replace("-", "") for role in ROLES
        }
        if not dry_run:
            text = "".join(f'{role} = "{password}"\n' for role, password in made.items())
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(text)
        return made
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(
            "passwords",
            f"{file} is no TOML",
            hint='A line per role: owner = "...". A missing file is made with fresh passwords.',
        ) from error
    unknown = sorted(said.keys() - set(ROLES))
    if unknown or not all(isinstance(word, str) and word for word in said.values()):
        raise Unreadable(
            "passwords",
            f"{file} has something else than a password per role",
            hint=f"Roles are {', '.join(ROLES)}.",
        )
    return {role: said[role] for role in ROLES if role in said}


def settle_users(
    admin: AdminClient, namespace: str, passwords: Mapping[Role, str], *, dry_run: bool = False
) -> list[Step]:
    """Give each role's user its password (SCRAM-SHA-512)."""
    names = {role: user(namespace, role) for role in passwords}
    known = set()
    asked = admin.describe_user_scram_credentials([*names.values()])
    assert isinstance(asked, dict)
    for name, future in asked.items():
        try:
            future.result(ASK_S)
            known.add(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.RESOURCE_NOT_FOUND:
                raise named(error.args[0], "reading users") from error
    if names and not dry_run:
        kind = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        changes: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(names[role], kind, word.encode())
            for role, word in passwords.items()
        ]
        ask(lambda: admin.alter_user_scram_credentials(changes), "writing users")
    return [
        Step("user", name, "change" if name in known else "create", "password")
        for name in names.values()
    ]


# -- rights


def settle_rights(
    admin: AdminClient, namespace: str, *, prefix: str = "", dry_run: bool = False
) -> list[Step]:
    """Grant each role's user the rights of the table, and take what it has beyond them."""
    if not has_authorizer(admin):
        return [Step("rights", "all", "skip", "the cluster has no authorizer: anybody may do all")]
    steps: list[Step] = []
    for role in ROLES:
        name = user(namespace, role)
        table = {line: b for r in rights(role, namespace, prefix) for line, b in bindings(name, r)}
        has = granted(admin, name)
        new = [b for line, b in table.items() if line not in has]
        excess = [b for line, b in has.items() if line not in table]
        if new and not dry_run:
            ask(partial(admin.create_acls, new), f"granting rights to {name}")
        if excess and not dry_run:
            filters = [_filter(b) for b in excess]
            ask(partial(admin.delete_acls, filters), f"taking rights from {name}")
        done = "change" if new or excess else "keep"
        steps.append(Step("rights", name, done, f"{len(new)} granted, {len(excess)} taken"))
    return steps


def has_authorizer(admin: AdminClient) -> bool:
    """Tell whether the cluster asks for rights at all."""
    brokers = [str(number) for number in admin.list_topics(timeout=ASK_S).brokers]
    values = options_of(admin, ConfigResource.Type.BROKER, brokers[:1])[brokers[0]]
    return bool(values.get("authorizer.class.name"))


def granted(admin: AdminClient, name: str) -> dict[str, AclBinding]:
    """Return the rights that a user has, by a line that names each."""
    anything = AclBindingFilter(
        ConfigResource.Type.ANY,
        None,  # type: ignore[arg-type]  # any name, as the library documents it
        ResourcePatternType.ANY,
        f"User:{name}",
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found = ask(lambda: {name: admin.describe_acls(anything)}, "reading rights")[name]
    return {_line(binding): binding for binding in found}


def bindings(name: str, right: Right) -> list[tuple[str, AclBinding]]:
    """Return a right as the cluster keeps it: one binding per operation, with its line."""
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    found = [
        AclBinding(
            _THINGS[right.thing],
            right.name,
            pattern,
            f"User:{name}",
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]
    return [(_line(binding), binding) for binding in found]


def _line(binding: AclBinding) -> str:
    kinds = (
        binding.permission_type,
        binding.operation,
        binding.restype,
        binding.resource_pattern_type,
    )
    words = [str(getattr(kind, "name", kind)).lower() for kind in kinds]
    return " ".join([*words, str(binding.name), str(binding.host)])


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
