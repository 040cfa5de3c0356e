"""The gate: whether this program may go out, as far as stored messages are concerned.

It holds every schema version that was ever shipped against every other, decodes the golden records, folds the
golden streams to the states of their time, and looks after the fields that consumers have declared. Whatever
it finds is a finding with a rule, a place and a remedy; findings of severity `error` close the gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from usance.bootstrap.gate_streams import Stream, differences, folded
from usance.bootstrap.store import all_deciders
from usance.kernel.errors import Unreadable, UsanceError
from usance.messages.avro import plain_reader, plain_writer
from usance.messages.avro_schema import MISSING, Node, Schema, parsed
from usance.messages.catalogue import Catalogue, MessageType, schema_files
from usance.messages.compatibility import check, reads_back
from usance.messages.envelope import Decoder
from usance.messages.registry import RegistryState, frame, registered
from usance.messages.schema_changes import ERROR, WARN
from usance.messages.schema_lints import lint_versions
from usance.messages.upcasting import UPCASTERS
from usance.views.sentences import plain_fields

SCHEMAS = "src/usance/messages/schemas"
GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
CONSUMERS = Path(__file__).parent.parent / "data" / "consumers.json"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: `file` is relative to the checkout, `path` a JSON pointer into it."""

    rule: str
    severity: str
    file: str
    path: str
    message: str
    hint: str = ""


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer of our topics reads: fields (dotted) by full name of a message."""

    consumer: str
    reads: dict[str, list[str]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate looked at, and what it found."""

    open: bool
    checked: dict[str, int]
    findings: list[Finding]


class Gate:
    """Looks at one catalogue, golden folder and list of consumers."""

    def __init__(
        self, catalogue: Catalogue, golden: Path = GOLDEN, consumers: Iterable[Consumer] = ()
    ) -> None:
        self.catalogue = catalogue
        self.golden = golden
        self.consumers = [*consumers, _timeline(catalogue)]
        self.counts = dict.fromkeys(("versions", "pairs", "records", "streams", "fields"), 0)

    def report(self) -> Report:
        """Look at everything; raises Unreadable where the golden folder cannot be read."""
        if not self.golden.is_dir():
            raise Unreadable(
                "gate",
                f"there are no golden records in {self.golden}",
                hint="run it in a checkout of the sources, or name their folder: --golden DIR",
            )
        found = [*self._schemas()]
        if not any(f.severity == ERROR for f in found):
            # With schemas in disorder everything else would only say the same again.
            found += [*self._upcasters(), *self._records(), *self._streams(), *self._fields()]
        shut = any(f.severity == ERROR for f in found)
        return Report(open=not shut, checked=self.counts, findings=found)

    # -- schemas

    def _schemas(self) -> Iterator[Finding]:
        for name in sorted(set(schema_files()) - set(self.catalogue.by_name)):
            words = f"no message class is named {name}"
            yield _finding(
                "CLASS_MISSING", f"{name}.v1", "", words, "remove the file, or the class's new name"
            )
        for entry in self.catalogue.types():
            yield from self._history(entry)

    def _history(self, entry: MessageType) -> Iterator[Finding]:
        if sorted(entry.versions) != list(range(1, entry.version + 1)):
            words = f"versions of {entry.fullname} are missing"
            yield _finding(
                "VERSION_MISSING", _file(entry, entry.version), "", words, "keep every file"
            )
            return
        versions: list[Schema] = []
        for number in range(1, entry.version + 1):
            self.counts["versions"] += 1
            try:
                schema = parsed(entry.versions[number])
            except Unreadable as error:
                yield _finding("UNREADABLE", _file(entry, number), "", error.reason, error.hint)
                return
            for lint in lint_versions(schema, versions, entry.level, entry.kind):
                yield _finding(
                    lint.rule,
                    _file(entry, number),
                    lint.path,
                    lint.message,
                    lint.hint,
                    lint.severity,
                )
            versions.append(schema)
        yield from self._pairs(entry, versions)
        try:
            for make in ("reader", "writer"):
                getattr(entry, make)
        except UsanceError as error:
            hint = "class and newest schema must have the same fields"
            yield _finding("CLASS_DIFFERS", _file(entry, entry.version), "", error.message, hint)

    def _pairs(self, entry: MessageType, versions: list[Schema]) -> Iterator[Finding]:
        """Hold every version against every other, in each direction that the level demands."""
        for i, reader in enumerate(versions, 1):
            for j, writer in enumerate(versions, 1):
                if i == j or (i > j and not reads_back(entry.level)):
                    continue
                self.counts["pairs"] += 1
                for violation in check(reader, writer):
                    words = f"version {i} cannot read version {j}: {violation.message}"
                    newer = _file(entry, max(i, j))
                    yield _finding(violation.rule, newer, violation.path, words, violation.hint)

    def _upcasters(self) -> Iterator[Finding]:
        try:
            UPCASTERS.check(self.catalogue.by_name)
        except Unreadable as error:
            yield _finding("UPCASTER", "../upcasting.py", "", error.reason, error.hint, suffix="")

    # -- golden records and streams

    def _records(self) -> Iterator[Finding]:
        registry = registered(self.catalogue)
        decoder = Decoder(catalogue=self.catalogue, registry=registry)
        for entry in self.catalogue.types():
            for version in sorted(entry.versions):
                self.counts["records"] += 1
                yield from self._record(entry, version, decoder, registry)

    def _record(
        self, entry: MessageType, version: int, decoder: Decoder, registry: RegistryState
    ) -> Iterator[Finding]:
        name = f"{entry.fullname}.v{version}"
        try:
            data = (self.golden / f"{name}.bin").read_bytes()
            kept = (self.golden / f"{name}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            hint = "python tools/scaffold_schemas.py writes it"
            yield self._broken("RECORD_MISSING", f"{name}.bin", "", f"{name} has no record", hint)
            return
        text = entry.versions[version]
        try:
            plain = plain_reader(text)(data, 0, None)
            same = json.loads(json.dumps(plain, default=lambda b: b.hex())) == json.loads(kept)
            if not same or plain_writer(text)(plain, b"") != data:
                words = "the record is read or written otherwise than it was"
                yield self._broken(
                    "RECORD_CHANGED", f"{name}.bin", "", words, "never edit a shipped version"
                )
            if entry.kind != "block":
                decoder.value(frame(registry.id_of(parsed(text))) + data)
        except (UsanceError, ValueError, TypeError) as error:
            words = f"today's program cannot read it: {error}"
            yield self._broken(
                "RECORD_UNREADABLE", f"{name}.bin", "", words, "add a default or an upcaster"
            )

    def _streams(self) -> Iterator[Finding]:
        path = self.golden / "streams.jsonl"
        try:
            streams = msgspec.json.decode(
                b"[" + b",".join(path.read_bytes().splitlines()) + b"]", type=list[Stream]
            )
        except (OSError, msgspec.MsgspecError) as error:
            raise Unreadable(
                "gate", f"{path} cannot be read: {error}", hint="take it from version control"
            ) from error
        registry = registered(self.catalogue)
        decoder = Decoder(catalogue=self.catalogue, registry=registry)
        deciders = all_deciders()
        for stream in streams:
            self.counts["streams"] += 1
            try:
                now = folded(stream, deciders, decoder, registry)
            except Exception as error:  # noqa: BLE001  whatever evolve raises would stop a partition
                words = f"{stream.stream} does not fold: {type(error).__name__}: {error}"
                yield self._broken(
                    "STREAM_BROKEN", path.name, "", words, "mend evolve or the upcaster"
                )
                continue
            for at in differences(stream.state, now):
                words = f"{stream.stream} folds to another state at {at}"
                hint = "if it is meant, write the stream anew: tools/golden_streams.py"
                yield self._broken("STATE_CHANGED", path.name, at, words, hint)

    def _broken(self, rule: str, name: str, path: str, words: str, hint: str) -> Finding:
        file = f"tests/golden/{name}"
        return Finding(rule=rule, severity=ERROR, file=file, path=path, message=words, hint=hint)

    # -- consumers

    def _fields(self) -> Iterator[Finding]:
        for consumer in self.consumers:
            for fullname, fields in consumer.reads.items():
                entry = self.catalogue.by_name.get(fullname)
                if entry is None:
                    words = f"{consumer.consumer} reads {fullname}, which is gone"
                    yield _finding(
                        "CONSUMER_TYPE_GONE", f"{fullname}.v1", "", words, "keep the type"
                    )
                    continue
                for field in fields:
                    self.counts["fields"] += 1
                    yield from _read_by(consumer.consumer, entry, field)


def _timeline(catalogue: Catalogue) -> Consumer:
    """Return what the timeline reads: the fields that its sentences name."""
    events = (t for t in catalogue.types() if t.kind == "event")
    reads = {t.fullname: plain_fields(t.cls.__name__) for t in events}
    return Consumer(consumer="timeline", reads={n: fields for n, fields in reads.items() if fields})


def _read_by(consumer: str, entry: MessageType, field: str) -> Iterator[Finding]:
    """Check that a field can be had from records of every version: written, or by default."""
    for number in sorted(entry.versions):
        if not _has(entry.versions[number], entry.schema.root, field.split(".")):
            words = f"{consumer} reads {field}, which version {number} does not give"
            hint = "keep the field, or change the consumer and its declaration first"
            yield _finding("CONSUMER_FIELD_GONE", _file(entry, number), "", words, hint)


def _has(text: str, newest: Node, names: list[str]) -> bool:
    """Tell whether the newest schema has a field, and records of a version give it or it has a default."""
    now: list[Node] = [newest]
    then: list[Node] = [parsed(text).root]
    for name in names:
        field = next((f for n in map(_record_of, now) if (f := n.field(name))), None)
        before = next((f for n in map(_record_of, then) if (f := n.field(name))), None)
        if field is None:
            return False
        if before is None:
            return field.default is not MISSING
        now, then = [field.type], [before.type]
    return True


def _record_of(node: Node) -> Node:
    """Return the record within arrays, maps and unions."""
    while node.kind in ("array", "map", "union"):
        if node.kind == "union":
            node = next((b for b in node.branches if b.kind != "null"), Node("null"))
        else:
            node = node.items
    return node


def _file(entry: MessageType, version: int) -> str:
    return f"{entry.fullname}.v{version}"


def _finding(
    rule: str,
    name: str,
    path: str,
    message: str,
    hint: str,
    severity: str = ERROR,
    suffix: str = ".avsc",
) -> Finding:
    file = f"{SCHEMAS}/{name}{suffix}".replace("schemas/../", "")
    return Finding(rule=rule, severity=severity, file=file, path=path, message=message, hint=hint)


def consumers(path: Path = CONSUMERS) -> list[Consumer]:
    """Return declared consumers; raises Unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Consumer])
    except (OSError, msgspec.MsgspecError) as error:
        raise Unreadable(
            "gate",
            f"{path} cannot be read: {error}",
            hint='write [{"consumer": "...", "reads": {"usance.trade.CreditIssued": ["credit"]}}]',
        ) from error


def sarif(report: Report, version: str) -> dict[str, Any]:
    """Return a report in SARIF 2.1.0."""
    rules = sorted({f.rule for f in report.findings})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "usance schema gate",
                        "version": version,
                        "rules": [{"id": rule, "name": rule} for rule in rules],
                    }
                },
                "results": [_result(f, rules.index(f.rule)) for f in report.findings],
            }
        ],
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": finding.file, "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 1},
        }
    }
    if finding.path:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": {ERROR: "error", WARN: "warning"}[finding.severity],
        "message": {"text": ". ".join(filter(None, (finding.message, finding.hint)))},
        "locations": [place],
    }
