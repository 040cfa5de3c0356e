"""Write the golden streams: real event streams of the sample book with the states that they fold to.

    python tools/golden_streams.py OUT.jsonl

Run it where a state changed its meaning on purpose, and look at the difference: `usance schema gate` holds
today's code to these states. Lines that stand in OUT already are kept as they are, bytes included, as long as
their events are decoded; only streams that show event types or versions not yet there are added.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from usance.bootstrap.book import before, play, read_book, sample_book
from usance.bootstrap.gate_streams import plain_state
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import load
from usance.kernel.decider import key_parts
from usance.log.contract import header


def streams(runtime: Runtime) -> dict[str, list[tuple[str, int, bytes]]]:
    """Return every stream as (full name, version, body) of its events."""
    store = runtime.store
    found: dict[str, list[tuple[str, int, bytes]]] = {}
    for context in ("trade", "compliance", "system"):
        for partition in range(store.topics.partitions):
            tp = store.topics.at(context, "events", partition)
            for record in store.log.scan(tp, store.log.begin(tp)):
                value = record.value or b""
                known = store.registry.by_id(int.from_bytes(value[1:5], "big"))
                assert known is not None
                stream = (header(record.headers, "ce_subject") or b"").decode()
                event = (known.schema.fullname, known.version, value[5:])
                found.setdefault(stream, []).append(event)
    return found


def chosen(found: dict[str, list[tuple[str, int, bytes]]], seen: set[tuple[str, int]]) -> list[str]:
    """Return few streams that together show every event type and version not yet seen."""
    left = {event[:2] for events in found.values() for event in events} - seen
    names: list[str] = []
    while left:
        best = max(sorted(found), key=lambda s: len({e[:2] for e in found[s]} & left))
        left -= {e[:2] for e in found[best]}
        names.append(best)
    return sorted(names)


def main(arguments: list[str]) -> int:
    """Play the book and write what is new; returns the exit code."""
    out = Path(arguments[0])
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    kept = [json.loads(line) for line in lines]
    seen = {(e["type"], e["version"]) for line in kept for e in line["events"]}
    with tempfile.TemporaryDirectory() as root:
        inputs = read_book(sample_book())
        settings = load(Path(root), {"data": root}, {}).settings
        runtime = Runtime(Folder(Path(root)), settings, before(inputs))
        play(runtime, inputs)
        found = streams(runtime)
        for stream in chosen(found, seen):
            lines.append(line_of(runtime, stream, found[stream]))
        runtime.close()
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def line_of(runtime: Runtime, stream: str, events: list[tuple[str, int, bytes]]) -> str:
    """Return one stream as it is kept."""
    decider = runtime.store.deciders[key_parts(stream).category]
    state: Any = runtime.store.history.fold(decider, stream)
    shown = [
        {"type": name, "version": version, "body": base64.b64encode(body).decode()}
        for name, version, body in events
    ]
    kept = {"stream": stream, "events": shown, "state": plain_state(state)}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
