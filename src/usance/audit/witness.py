"""A witness by C2SP tlog-witness: it cosigns a head only where it extends the last one that it saw.

The answers are HTTP's: 200 with signature lines, 400 a request that cannot be read or an old size beyond
the new one, 403 a signature that is not the log's, 404 an unknown log, 409 another size was seen last (its
body), 422 history was rewritten. What was seen is stored before anything is signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from usance.audit.codes import Detected
from usance.audit.merkle import EMPTY_ROOT, HASH_BYTES, PROOF_HASHES_MAX, verify_consistency
from usance.audit.note import (
    Checkpoint,
    Verifier,
    b64,
    cosign,
    key_id,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
    unb64,
)
from usance.audit.note import SigningKey as _Key

BODY_BYTES_MAX = 64 * 1024
SIZE_TYPE = "text/x.tlog.size"
PLAIN = "text/plain; charset=utf-8"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Answer(NamedTuple):
    """Status, body and content type."""

    status: int
    body: str = ""
    kind: str = PLAIN


class Seen(Protocol):
    """What a witness has seen last of each log; durable, compare-and-set."""

    def last(self, origin: str) -> tuple[int, bytes]:
        """Return size and root of the last head cosigned; (0, root of nothing) before the first."""
        ...

    def advance(self, origin: str, old: tuple[int, bytes], raw: bytes, head: Checkpoint) -> bool:
        """Store a head in the place of `old`, durably; False where another one stands there."""
        ...

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the last head as it was signed by its log."""
        ...


class WitnessDesk:
    """Judges heads of the logs that it knows. `now` gives Unix seconds."""

    def __init__(self, name: str, key: _Key, logs: Mapping[str, Verifier], seen: Seen) -> None:
        self.name = name
        self.key = key
        self.logs = logs
        self.seen = seen

    def add_checkpoint(self, body: bytes, now: int) -> Answer:
        """Answer a request of `add-checkpoint`."""
        try:
            old, proof, raw = parse_request(body)
            head = parse_checkpoint(parse_note(raw).text)
        except Detected as bad:
            return Answer(400, f"{bad.reason}\n")
        log = self.logs.get(head.origin)
        if log is None:
            return Answer(404, "this log is not known here\n")
        try:
            open_checkpoint(raw, log)
        except Detected as bad:
            return Answer(403, f"{bad.reason}\n")
        if old > head.size:
            return Answer(400, "the old size is beyond the new one\n")
        last = self.seen.last(head.origin)
        if old != last[0]:
            return Answer(409, f"{last[0]}\n", SIZE_TYPE)
        if head.size == 0 and head.root != EMPTY_ROOT:
            return Answer(422, "a log without leaves has another root\n")
        if not verify_consistency(old, head.size, last[1], head.root, proof):
            return Answer(422, "the new head does not extend the last one\n")
        if not self.seen.advance(head.origin, last, raw, head):
            return Answer(409, f"{self.seen.last(head.origin)[0]}\n", SIZE_TYPE)
        return Answer(200, cosign(head.text(), self.name, self.key, now).line())

    @property
    def vkey(self) -> str:
        """The witness's key, as a line of text."""
        return Verifier(self.name, self.key.public, 4).vkey

    @property
    def key_id(self) -> bytes:
        """The id of its key."""
        return key_id(self.name, 4, self.key.public)


def request(old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return the body of a request."""
    return "".join([f"old {old}\n", *[f"{b64(h)}\n" for h in proof], "\n"]).encode() + checkpoint


def parse_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Return old size, proof and head; raises Detected(MALFORMED)."""
    head, gap, raw = body.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    found = _OLD.fullmatch(lines[0])
    if len(body) > BODY_BYTES_MAX or not gap or found is None:
        raise Detected("MALFORMED", "a request to a witness begins with its old size")
    if len(lines) - 1 > PROOF_HASHES_MAX:
        raise Detected("MALFORMED", "a proof has more hashes than any tree needs")
    proof = [unb64(line) for line in lines[1:]]
    if any(len(h) != HASH_BYTES for h in proof):
        raise Detected("MALFORMED", "a hash of a proof has not 32 bytes")
    return int(found[1]), proof, raw
