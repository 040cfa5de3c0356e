"""Golden records: one encoded record per schema version, the same on every run and machine.

`<full name>.v<N>.bin` is the Avro body without framing (schema ids differ between registries),
`.json` the same record for people, bytes as hex. Private blocks are real blocks in clear.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from usance.messages.avro import encode, plain_writer
from usance.messages.avro_schema import Node, Schema
from usance.messages.catalogue import Catalogue, MessageType
from usance.messages.derive import PRIVATE_FIELD

_WORDS = ("Hafen", "Zürich", "SINGAPORE", "中国银行", "ULSAN", "Bristol", "Callao", "Durban")


def golden_files(catalogue: Catalogue) -> dict[str, bytes]:
    """Return name and content of the golden files of every version of every type."""
    found: dict[str, bytes] = {}
    for entry in catalogue.types():
        for version, text in entry.versions.items():
            record = golden_record(catalogue, entry, text)
            name = f"{entry.fullname}.v{version}"
            found[f"{name}.bin"] = encode(plain_writer(text), record, entry.fullname)
            found[f"{name}.json"] = as_json(record).encode()
    return found


def golden_record(catalogue: Catalogue, entry: MessageType, text: str) -> dict[str, Any]:
    """Return the golden record of one schema text as a plain dict."""
    record: dict[str, Any] = _value(Schema(text).root, entry.fullname)
    if entry.blocks:
        record[PRIVATE_FIELD] = [_private(catalogue, n, b) for n, b in entry.blocks.items()]
    return record


def as_json(record: dict[str, Any]) -> str:
    """Return a record as text for people: bytes as hex."""
    return json.dumps(record, indent=2, ensure_ascii=False, default=lambda b: b.hex()) + "\n"


def _private(catalogue: Catalogue, name: str, block: MessageType) -> dict[str, Any]:
    inner = golden_record(catalogue, block, block.text)
    body = encode(plain_writer(block.text), inner, block.fullname)
    return {
        "name": name,
        "subject": inner["subject"],
        "schema": block.schema.fingerprint,
        "block": b"\x00" + body,
    }


def _number(path: str) -> int:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big")


def _value(node: Node, path: str) -> Any:
    n = _number(path)
    match node.kind:
        case "record":
            return {f.name: _value(f.type, f"{path}.{f.name}") for f in node.fields}
        case "union":
            return _value(next(b for b in node.branches if b.kind != "null"), path)
        case "array":
            return [_value(node.items, f"{path}[{i}]") for i in range(2)]
        case "map":
            return {f"key-{i}": _value(node.items, f"{path}[{i}]") for i in range(2)}
        case "string":
            return f"{_WORDS[n % len(_WORDS)]} {n % 10_000}"
        case "boolean":
            return n % 2 == 1
        case "bytes":
            return hashlib.sha256(path.encode()).digest()[: n % 20]
        case "fixed":
            return (hashlib.sha256(path.encode()).digest() * 4)[: node.size]
        case "enum":
            return node.symbols[n % max(1, len(node.symbols) - 1)]
    return n * (n % 3 - 1) * 1_000
