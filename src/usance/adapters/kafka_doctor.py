"""What is wrong with a cluster, each with the command that mends it.

`examine` looks at everything, transactions and groups included; `settings` only at what may lose records, as a
start must (`demand_safe`). Nothing here changes anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka.admin import AdminClient, ConfigResource, TopicMetadata

from usance.adapters.kafka_settings import SESSION_MS, TRANSACTION_MS
from usance.adapters.kafka_setup import ASK_S, ask, options_of
from usance.adapters.kafka_topics import LETTER_HEADERS, UNSAFE, fits, wanted
from usance.engine.findings import Finding, ok
from usance.kernel.clock import Clock
from usance.kernel.errors import Refused, Unavailable
from usance.log.contract import TopicSettings

CLEANUP_MS = 1_000
OFFSETS_MIN = 30 * 24 * 60
"""How long a group may be without members and keep its positions: as long as the commands it would read."""
COPIES = 3
"""Copies that a cluster of three or more is asked to keep."""
SHOWN_MAX = 3
SETUP = "usance kafka setup"
BREAK = "\\n"
INTERNAL = {
    "__consumer_offsets": "offsets.topic.replication.factor",
    "__transaction_state": "transaction.state.log.replication.factor",
}


class Ward(NamedTuple):
    """What is examined: a cluster by an admin client, and the topics that one log has there."""

    admin: AdminClient
    options: Mapping[str, Any]
    topics: Sequence[TopicSettings]
    clock: Clock
    prefix: str = ""
    group_protocol: str = "classic"
    session_ms: int = SESSION_MS
    transaction_ms: int = TRANSACTION_MS

    @property
    def servers(self) -> str:
        """The brokers' addresses, as commands name them."""
        return str(self.options["bootstrap.servers"])


class _Rule(NamedTuple):
    """A broker setting: bounds of its number, or its word, and why."""

    name: str
    why: str
    word: str = ""
    least: int = 0
    most: int = 1 << 62
    unsafe: bool = False

    def well(self, found: str) -> bool:
        if self.word:
            return found == self.word
        return self.least <= int(found) <= self.most

    @property
    def want(self) -> str:
        if self.word:
            return self.word
        return str(self.least if self.most == 1 << 62 else self.most)


_RULES = (
    _Rule(
        "auto.create.topics.enable",
        "a misspelt or deleted topic would come into being, empty, with the wrong settings",
        word="false",
        unsafe=True,
    ),
    _Rule(
        "unclean.leader.election.enable",
        "a replica that lags could become the leader, and acknowledged records be gone",
        word="false",
        unsafe=True,
    ),
    _Rule(
        "transaction.partition.verification.enable",
        "a late write of a dead transaction could hang a partition or enter the next one",
        word="true",
        unsafe=True,
    ),
    _Rule(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "a dead owner's transaction holds readers up for so much longer",
        most=CLEANUP_MS,
    ),
    _Rule(
        "offsets.retention.minutes",
        "a group without members forgets where it stood, and reads its topics again from what is kept",
        least=OFFSETS_MIN,
    ),
)
_NEW_PROTOCOL = "group.consumer.session.timeout.ms"


def _timing(ward: Ward) -> tuple[_Rule, ...]:
    """Return the rules that depend on how long our sessions and transactions are."""
    session = ward.session_ms
    refused = f"owners ask for a session of {session / 1000:g} s and are refused"
    told = "with group_protocol = consumer the broker alone says how long a dead owner keeps its partitions"
    return (
        _Rule(
            "transaction.max.timeout.ms",
            "units could not have the time they ask for",
            least=ward.transaction_ms,
        ),
        _Rule("group.min.session.timeout.ms", refused, most=session),
        _Rule("group.max.session.timeout.ms", refused, least=session),
        _Rule(_NEW_PROTOCOL, told, most=session),
    )


_SEVERAL = (
    _Rule(
        "min.insync.replicas",
        "an acknowledged position of a group may be on one broker only",
        least=2,
        unsafe=True,
    ),
    _Rule(
        "transaction.state.log.min.isr",
        "the outcome of a transaction may be on one broker only",
        least=2,
        unsafe=True,
    ),
)
"""Where there are three brokers or more."""


def settings(ward: Ward) -> Iterator[Finding]:
    """Look at the settings of brokers and topics: quick, and all that a start demands."""
    seen = ward.admin.list_topics(timeout=ASK_S)
    yield from _brokers(ward, [str(number) for number in seen.brokers])
    yield from _topics(ward, seen.topics, len(seen.brokers))
    yield _takeover(ward)


def demand_safe(ward: Ward, *, accept_loss: bool = False) -> list[Finding]:
    """Raise Refused for settings that can lose records, unless that is accepted in words.

    Returns what was accepted, for the log of the start.
    """
    found = [finding for finding in settings(ward) if finding.unsafe and not finding.well]
    if found and not accept_loss:
        told = "; ".join(f"{f.check}: {f.found}" for f in found[:SHOWN_MAX])
        more = f"; and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        raise Refused(
            "KAFKA_UNSAFE",
            f"the cluster can lose what it has acknowledged: {told}{more}",
            hint=f"{found[0].to_do}. `usance kafka doctor` names each with its remedy. To start all"
            " the same, set kafka.i_accept_loss = true.",
        )
    return found


def takeover_ms(session_ms: int, transaction_ms: int) -> int:
    """Return how long the work of a lost machine waits before it can be taken over (rule 11)."""
    return max(session_ms, transaction_ms + CLEANUP_MS)


def _takeover(ward: Ward) -> Finding:
    session, transaction = ward.session_ms, ward.transaction_ms
    seconds = takeover_ms(session, transaction) / 1000
    told = (
        f"{seconds:g} s, then the join and the restore: the longer of the session ({session / 1000:g} s) and"
        f" the transaction with its clean-up ({transaction / 1000:g} + {CLEANUP_MS / 1000:g} s)"
    )
    return ok("flow", "TAKE_OVER", "work of a lost machine waits", told)


# -- brokers


def _brokers(ward: Ward, numbers: list[str]) -> Iterator[Finding]:
    yield ok("topics", "BROKERS", "brokers", f"{len(numbers)} at {ward.servers}")
    several = _SEVERAL if len(numbers) >= COPIES else ()
    strict = ward.group_protocol == "consumer"
    values: dict[str, dict[str, str]] = {}
    for number in numbers:
        try:
            values |= options_of(ward.admin, ConfigResource.Type.BROKER, [number])
        except Unavailable as error:
            yield _wrong(
                "BROKER_AWAY",
                f"broker {number}",
                error.message,
                command="kafka-server-start.sh config/server.properties",
                hint="on that broker's machine; its log says why it ended",
            )
    if not values:
        return
    answering = next(iter(values))
    read_only = _read_only(ward, answering)
    for rule in (*_RULES, *several, *_timing(ward)):
        found = {number: values[number].get(rule.name) for number in values}
        known = {number: value for number, value in found.items() if value is not None}
        bad = {number: value for number, value in known.items() if not rule.well(value)}
        if rule.name == _NEW_PROTOCOL and not strict:
            shown = ", ".join(sorted(set(known.values())))
            said = f"{shown} (counts with group_protocol = consumer only)"
            yield ok("topics", "BROKER_SETTING", rule.name, said)
        elif bad:
            told = ", ".join(f"{value} on broker {number}" for number, value in bad.items())
            command, hint = _broker_remedy(ward, rule, static=rule.name in read_only)
            yield _wrong(
                "BROKER_SETTING",
                rule.name,
                f"{told}: {rule.why}",
                command=command,
                hint=hint,
                unsafe=rule.unsafe,
            )
        elif known:
            shown = ", ".join(sorted(set(known.values())))
            yield ok("topics", "BROKER_SETTING", rule.name, shown)
    yield _authorizer(ward, values[answering])


def _read_only(ward: Ward, number: str) -> set[str]:
    resource = ConfigResource(ConfigResource.Type.BROKER, number)
    found = ask(lambda: ward.admin.describe_configs([resource]), "reading settings")[resource]
    return {name for name, entry in found.items() if entry.is_read_only}


def _broker_remedy(ward: Ward, rule: _Rule, *, static: bool) -> tuple[str, str]:
    """Return the command that sets a broker setting, and what else is to be done."""
    lines = [f"{rule.name}={rule.want}"]
    if rule.name == _NEW_PROTOCOL:
        lines += [
            f"group.consumer.min.session.timeout.ms={rule.want}",
            "group.consumer.heartbeat.interval.ms=1000",
            "group.consumer.min.heartbeat.interval.ms=1000",
        ]
    if static:
        command = f"printf '{BREAK.join(('', *lines, ''))}' >> config/server.properties"
        return command, "on every broker, in its own folder; then restart one after another"
    command = (
        f"kafka-configs.sh --bootstrap-server {ward.servers} --alter --entity-type brokers"
        f" --entity-default --add-config {','.join(lines)}"
    )
    return command, ""


def _authorizer(ward: Ward, values: Mapping[str, str]) -> Finding:
    if values.get("authorizer.class.name"):
        found = values["authorizer.class.name"].rsplit(".", 1)[-1]
        return ok("access", "NO_AUTHORIZER", "authorizer", found)
    hosts = {address.rpartition(":")[0].strip("[] ") for address in ward.servers.split(",")}
    if hosts <= {"localhost", "127.0.0.1", "::1"}:
        found = "none, and the brokers are on this machine"
        return ok("access", "NO_AUTHORIZER", "authorizer", found)
    line = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    return Finding(
        "access",
        "NO_AUTHORIZER",
        "wrong",
        "authorizer",
        "none: whoever reaches the brokers may read and write everything",
        f"printf '{BREAK}{line}{BREAK}' >> config/server.properties",
        "on every broker; restart one after another, then run `usance kafka setup`",
    )


# -- topics


def _topics(ward: Ward, there: Mapping[str, TopicMetadata], brokers: int) -> Iterator[Finding]:
    missing = [t.name for t in ward.topics if ward.prefix + t.name not in there]
    if missing:
        yield _wrong(
            "TOPICS_MISSING",
            "topics",
            f"{len(missing)} of {len(ward.topics)} missing: {_some(missing)}",
            command=SETUP,
        )
    present = [t for t in ward.topics if ward.prefix + t.name in there]
    if not missing:
        yield ok("topics", "TOPICS_MISSING", "topics", f"all {len(present)} are there")
    yield from _partitions(ward, present, there)
    yield from _copies(ward, present, there, brokers)
    yield from _topic_settings(ward, present, there)


def _partitions(
    ward: Ward, present: list[TopicSettings], there: Mapping[str, TopicMetadata]
) -> Iterator[Finding]:
    for topic in present:
        count = len(there[ward.prefix + topic.name].partitions)
        if count != topic.partitions:
            yield _wrong(
                "TOPIC_PARTITIONS",
                f"partitions of {topic.name}",
                f"{count} instead of {topic.partitions}: keys are looked for in the wrong place",
                command=f"USANCE_NAMESPACE=NEW {SETUP}",
                hint="their number is fixed for life: restore the topic as it was, or begin a new namespace",
                unsafe=True,
            )


def _copies(
    ward: Ward, present: list[TopicSettings], there: Mapping[str, TopicMetadata], brokers: int
) -> Iterator[Finding]:
    few, lagging, dead = [], [], []
    due = min(COPIES, brokers)
    internal = [there[name] for name in INTERNAL if name in there]
    for topic in (*(there[ward.prefix + t.name] for t in present), *internal):
        for number, partition in topic.partitions.items():
            place = f"{topic.topic} {number}"
            few += [place] if len(partition.replicas) < due else []
            lagging += [place] if len(partition.isrs) < len(partition.replicas) else []
            dead += [place] if partition.leader < 0 else []
    if dead:
        yield _wrong(
            "NO_LEADER",
            "leaders",
            f"none for {_some(dead)}",
            command="kafka-server-start.sh config/server.properties",
            hint="on the machines of the brokers that hold them; unclean election would lose records",
        )
    if few:
        yield _wrong(
            "TOO_FEW_COPIES",
            "copies",
            f"fewer than {due} of {_some(few)}, though there are {brokers} brokers",
            command=f"kafka-reassign-partitions.sh --bootstrap-server {ward.servers}"
            " --reassignment-json-file PLAN.json --execute",
            hint="before the first record: set kafka.replication and create the topics again",
            unsafe=True,
        )
    elif present:
        yield ok("topics", "TOO_FEW_COPIES", "copies", f"{due} of each partition")
    if lagging:
        yield _wrong(
            "COPIES_LAG",
            "in sync",
            f"copies lag in {_some(lagging)}",
            command="kafka-server-start.sh config/server.properties",
            hint="on the machines of brokers that are down; or wait until they have caught up",
        )


def _topic_settings(
    ward: Ward, present: list[TopicSettings], there: Mapping[str, TopicMetadata]
) -> Iterator[Finding]:
    """Compare each setting, alike mistakes told together; the durability of a single copy in words."""
    names = [ward.prefix + t.name for t in present]
    values = options_of(ward.admin, ConfigResource.Type.TOPIC, names) if names else {}
    wrong: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    single: dict[bool, list[str]] = {True: [], False: []}
    for topic in present:
        name = ward.prefix + topic.name
        copies = min(len(p.replicas) for p in there[name].partitions.values())
        for setting, want in wanted(topic, copies).items():
            found = values[name].get(setting, "")
            well = fits(setting, found, want.value)
            if setting == "flush.messages":
                single[well].append(topic.name)
            elif not well and not (setting == "max.message.bytes" and topic.kind == "dead-letters"):
                wrong[setting, found, want.value, want.why].append(topic.name)
    for (setting, found, value, why), topics in wrong.items():
        yield _wrong(
            "TOPIC_SETTING",
            setting,
            f"{found} instead of {value} on {_some(topics)}: {why}",
            command=SETUP,
            hint=_topic_remedy(ward, setting, value, topics),
            unsafe=setting in UNSAFE,
        )
    if present and not wrong:
        yield ok("topics", "TOPIC_SETTING", "topic settings", "as they must be")
    yield from _letters(ward, present, values)
    yield from _single(single)


def _topic_remedy(ward: Ward, setting: str, value: str, topics: list[str]) -> str:
    return (
        f"or kafka-configs.sh --bootstrap-server {ward.servers} --alter"
        f" --entity-type topics --entity-name {ward.prefix}{topics[0]} --add-config"
        f" {setting}={value}"
    )


def _letters(
    ward: Ward, present: list[TopicSettings], values: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """A dead letter holds a command's bytes and headers of its own: its topic must take more."""
    largest = {
        t.name.rsplit(".", 1)[0]: int(values[ward.prefix + t.name]["max.message.bytes"])
        for t in present
        if t.kind == "commands"
    }
    for topic in present:
        if topic.kind != "dead-letters":
            continue
        room = int(values[ward.prefix + topic.name]["max.message.bytes"])
        need = largest.get(topic.name.rsplit(".", 1)[0], 0) + LETTER_HEADERS
        if room < need:
            yield _wrong(
                "LETTER_ROOM",
                f"room in {topic.name}",
                f"max.message.bytes is {room}, and the largest command with its headers needs"
                f" {need}: a unit that cannot be written pauses its partition",
                command=SETUP,
                hint=_topic_remedy(ward, "max.message.bytes", str(need), [topic.name]),
            )


def _single(single: Mapping[bool, list[str]]) -> Iterator[Finding]:
    if single[False]:
        yield _wrong(
            "SINGLE_COPY",
            "durability",
            f"one copy only, and not flushed before it is acknowledged ({_some(single[False])}): what"
            " one machine has in memory is lost when it loses its power",
            command=SETUP,
            hint="it sets flush.messages=1; better, three brokers and kafka.replication = 3",
            unsafe=True,
        )
    elif single[True]:
        found = "one copy, on disk before it is acknowledged"
        yield ok("topics", "SINGLE_COPY", "durability", found)


def _wrong(
    code: str, check: str, found: str, *, command: str, hint: str = "", unsafe: bool = False
) -> Finding:
    severity = "unsafe" if unsafe else "wrong"
    return Finding("topics", code, severity, check, found, command, hint)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_MAX])
    return shown if len(names) <= SHOWN_MAX else f"{shown} and {len(names) - SHOWN_MAX} more"
