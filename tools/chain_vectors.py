"""Write the published test vectors of envelope and chain (tests/audit/vectors/chain.json).

Computed here from the written format alone, without the product's code, so that a change of the
product cannot move the vectors with it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "tests" / "audit" / "vectors" / "chain.json"
ORDER = ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "usance-meta"]
LOG_ID, TOPIC, PARTITION = "5d2f0c5e-1111-4222-8333-444455556666", "usance.trade.events", 3
RECORDS: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
    (
        b"albion/credit/TF26LC000123",
        b"\x00\x00\x00\x00\x05body",
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"7a1b3c1e-4e37-5d0a-9d51-5c7b1f0d2a11"),
            ("ce_type", b"usance.trade.CreditIssued"),
            ("ce_source", b"/usance/5d2f0c5e-1111-4222-8333-444455556666/trade"),
            ("ce_subject", b"albion/credit/TF26LC000123"),
            ("ce_time", b"2026-11-23T09:00:00.000Z"),
            ("usance-meta", bytes(range(48))),
            ("content-type", b"application/avro"),
        ],
    ),
    (b"", None, [("usance-meta", b"m"), ("ce_id", b"first"), ("ce_id", b"second")]),
    (None, b"", []),
]


def part(data: bytes | None) -> bytes:
    """Return a length-prefixed part."""
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">I", len(data)) + data


def main() -> None:
    """Compute and write."""
    start = b"".join(
        part(p)
        for p in (b"usance/chain/v1", LOG_ID.encode(), TOPIC.encode(), struct.pack(">I", PARTITION))
    )
    tail = hashlib.sha256(start).digest()
    out: dict[str, object] = {
        "chain_start": {
            "log_id": LOG_ID, "topic": TOPIC, "partition": PARTITION, "c(-1)": tail.hex(),
        }
    }  # fmt: skip
    rows = []
    for key, value, headers in RECORDS:
        first = dict(reversed(headers))
        envelope = b"".join(part(first.get(n)) for n in ORDER) + part(key) + part(value)
        digest = hashlib.sha256(envelope).digest()
        tail = hashlib.sha256(tail + digest).digest()
        rows.append(
            {
                "key": None if key is None else key.hex(),
                "value": None if value is None else value.hex(),
                "headers": [[n, v.hex()] for n, v in headers],
                "envelope": envelope.hex(),
                "envelope_hash": digest.hex(),
                "c": tail.hex(),
            }
        )
    out["records"] = rows
    TARGET.write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
