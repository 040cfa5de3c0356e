"""Classes, schema files and golden records held together (`tools/scaffold_schemas.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from usance.messages.avro import plain_reader, plain_writer
from usance.messages.avro_schema import Node, Schema
from usance.messages.catalogue import MessageType, build, schema_files
from usance.messages.derive import schema_text
from usance.messages.envelope import Decoder
from usance.messages.registry import registered

GOLDEN = Path(__file__).parent.parent / "golden"
CATALOGUE = build()
STATE = registered(CATALOGUE)
TODAY = CATALOGUE
WRITTEN = [t for t in CATALOGUE.types() if t.fullname in schema_files()]
VERSIONS = [(t, v) for t in WRITTEN for v in t.versions]


def fields_of(text: str) -> dict[str, str]:
    return {f.name: type_text(f.type) for f in Schema(text).root.fields}


def type_text(node: Node) -> str:
    inner = [type_text(b) for b in node.branches] or [type_text(f.type) for f in node.fields]
    below = type_text(node.items) if node.items is not node else ""
    return f"{node.kind}:{node.name}:{node.size}:{node.symbols}:{inner}:{below}"


def test_every_registered_class_has_its_schema_file_and_every_file_its_class() -> None:
    files, classes = set(schema_files()), {t.fullname for t in CATALOGUE.types()}
    assert not classes - files, "run tools/scaffold_schemas.py"
    assert not files - classes


@pytest.mark.parametrize("entry", WRITTEN, ids=lambda t: t.fullname)
def test_the_newest_file_has_exactly_the_fields_of_its_class(entry: MessageType) -> None:
    assert fields_of(entry.text) == fields_of(schema_text(entry.cls, entry.fullname))
    assert sorted(entry.versions) == list(range(1, entry.version + 1))


@pytest.mark.parametrize("entry", WRITTEN, ids=lambda t: t.fullname)
def test_every_field_says_sensitivity_subject_and_retention(entry: MessageType) -> None:
    pending = [entry.schema.root]
    while pending:
        node = pending.pop()
        pending += [*node.branches, *(f.type for f in node.fields)]
        if node.items is not node:
            pending.append(node.items)
        for field in node.fields:
            assert set(field.attributes) == {"sensitivity", "subject", "retain"}, field.name
            assert field.attributes["sensitivity"] in ("public", "business", "personal", "secret")


@pytest.fixture(scope="module")
def codec_in_turn(each_codec: str) -> None:
    """Read and write golden records with one codec, then with the other."""
    global TODAY
    TODAY = build()
    plain_reader.cache_clear()
    plain_writer.cache_clear()


@pytest.mark.usefixtures("codec_in_turn")
@pytest.mark.parametrize(("entry", "version"), VERSIONS, ids=lambda x: getattr(x, "fullname", x))
def test_todays_code_reads_the_golden_record_of_every_version(
    entry: MessageType, version: int
) -> None:
    entry = TODAY.by_class[entry.cls]
    name = f"{entry.fullname}.v{version}"
    data = (GOLDEN / f"{name}.bin").read_bytes()
    text = entry.versions[version]
    plain = plain_reader(text)(data, 0, None)
    shown = json.dumps(plain, indent=2, ensure_ascii=False, default=lambda b: b.hex()) + "\n"
    assert shown == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert plain_writer(text)(plain, b"") == data
    if entry.kind != "block":
        frame = b"\x00" + STATE.id_of(Schema(text)).to_bytes(4, "big")
        message = Decoder(catalogue=TODAY, registry=STATE).value(frame + data)
        assert type(message) is entry.cls
        if version == entry.version:
            assert entry.writer(message, b"") == data
