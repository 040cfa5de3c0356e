"""Making an audit pack: which files it has, its manifest, and the one verifier that stands in each.

Layout (`<tree>` is such as `trade.events/p003`):

    README.html index.html record-history.json custody.jsonl keys.json streams.json    for people, programs
    events/<tree>.jsonl envelopes/<tree>.bin                       what records say, and their stored bytes
    proofs/<tree>/<index>.tlog-proof, or tiles/<tree>/...                  of single records, of whole trees
    heads/<tree>.checkpoint anchors/... policy.txt schemas/... verify.py VERIFY.txt
    manifest.json manifest.note                                                     all of the above, signed
    sealed/...                       how the log of heads, and the hand-over in the log, prove all of it

What is below `sealed/` comes into being after the manifest, because the hand-over names it. The same request at
the same heads gives the same manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib import resources
from typing import Any, NamedTuple

import msgspec

from usance.audit.chain import envelope
from usance.audit.codes import Detected
from usance.audit.merkle import inclusion_proof, leaf_hash, node_hash, root_of
from usance.audit.note import b64
from usance.audit.pack_records import (
    Schemas,
    Told,
    index_entry,
    line_of,
    parts_of,
    prefixed,
    tell,
    zipped,
)
from usance.audit.pack_verify import FORMAT, REGISTRY
from usance.audit.proof import SUFFIX, Proof
from usance.audit.tiles import CHECKPOINT, Tiles

PACK_BYTES_MAX = 4_000_000_000
"""Zips without extensions end at 4 GB."""
_FUTURE = "from __future__ import annotations\n"
_OURS = re.compile(r"^from usance\.\S+ import (?:\([^)]*\)|.*)\n", re.MULTILINE)
_IMPORT = re.compile(r"^(?:import|from) .*\n", re.MULTILINE)
_SOURCES = ("pack_proofs.py", "pack_records.py", "pack_verify.py")

VERIFY_TEXT = """Verify this pack with Python 3.11 or newer, and nothing else:

    unzip -p PACK.zip verify.py > verify.py
    python3 -I -S verify.py PACK.zip --trust FINGERPRINT

Better still, take verify.py from another place than the pack: its SHA-256 is in the event that handed the pack
over, and in every other pack. FINGERPRINT stands in the covering letter; `sha256sum policy.txt` says the same
in another alphabet.

Other people's tools read the same proofs. Each file in proofs/ and sealed/heads/ is a C2SP tlog-proof, each in
heads/ a C2SP checkpoint, policy.txt a C2SP tlog-policy; filippo.io/torchwood's VerifyProof takes them as they are.
A whole tree (tiles/) is checked by Tessera's fsck:

    fsck --storage_url=file://tiles/TREE/ --public_key=KEY --ui=false --N=4

Time stamps (anchors/*.tsr, RFC 3161) are checked by OpenSSL against the authority's certificate:

    openssl ts -verify -data anchors/N.checkpoint -in anchors/N.tsr -CAfile AUTHORITY.pem
"""


class Stored(NamedTuple):
    """A record as the log keeps it, and its private blocks that were opened for this pack."""

    offset: int
    log_time: int
    envelope: bytes
    revealed: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, record: Any, revealed: Iterable[dict[str, Any]] = ()) -> Stored:
        """Return a record of the log."""
        stored = envelope(record.key, record.value, record.headers)
        return cls(record.offset, record.timestamp, stored, tuple(revealed))


class Part(NamedTuple):
    """What a pack holds of one tree: its signed head, its stored tiles, records in order of their index."""

    folder: str
    checkpoint: bytes
    size: int
    tiles: Tiles
    records: Sequence[Stored]
    whole: bool = False
    files: Mapping[str, bytes] = {}
    """The tree's own files, where it is whole."""


class StreamIndexed(NamedTuple):
    """A stream in the index of its partition."""

    stream: str
    events: int
    last: int
    hashed: bytes


class Index:
    """How many events each stream of a partition has: a tree over its streams, sorted by their hashes."""

    def __init__(self, size: int, streams: Iterable[StreamIndexed]) -> None:
        self.size = size
        ordered = sorted(streams, key=lambda s: sha256(s.stream.encode()).digest())
        self._at = {s.stream: n for n, s in enumerate(ordered)}
        self._streams = ordered
        rows = [[leaf_hash(index_entry(*s)) for s in ordered]]
        self.root = root_of(rows[0])
        while len(rows[-1]) > 1:
            pairs = zip(rows[-1][::2], rows[-1][1::2], strict=False)
            rows.append([node_hash(left, right) for left, right in pairs])
        self._rows = rows

    @property
    def entries(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def shown(self, stream: str) -> dict[str, Any]:
        """Return what proves a stream's count; raises KeyError for one that is not there."""
        at = self._at[stream]
        found = self._streams[at]
        path = inclusion_proof(at, self.entries, lambda level, n: self._rows[level][n])
        return {
            "stream": stream,
            "count": found.events,
            "last": found.last,
            "hash": found.hashed.hex(),
            "at": at,
            "proof": [b64(one) for one in path],
        }


def verifier() -> bytes:
    """Return the source of `verify.py`: the modules of this floor that are written for it, in one file."""
    docs, body = "", ""
    imports = set[str]()
    for name in _SOURCES:
        text = resources.files("usance.audit").joinpath(name).read_text(encoding="utf-8")
        docs, _, rest = text.partition(_FUTURE)
        rest = _OURS.sub("", rest)
        imports.update(_IMPORT.findall(rest))
        body += "\n\n" + _IMPORT.sub("", rest).strip() + "\n"
    return f"{docs}{_FUTURE}\n{_joined(imports)}{body}".encode()


def _joined(imports: Iterable[str]) -> str:
    """Return import lines with names of one module on one line, plain imports first."""
    named: dict[str, set[str]] = {}
    plain = set()
    for line in imports:
        words = line.strip().split(" import ")
        if len(words) == 2:
            named.setdefault(words[0], set()).update(words[1].split(", "))
        else:
            plain.add(line.strip())
    taken = [
        f"{module} import {', '.join(sorted(names))}" for module, names in sorted(named.items())
    ]
    return "\n".join([*sorted(plain), *taken]) + "\n"


def schemas_of(parts: Iterable[Part]) -> Schemas:
    """Return the schemas that the records of the registry in a pack register."""
    found = Schemas()
    for part in parts:
        if part.folder == REGISTRY:
            for record in part.records:
                found.register(parts_of(record.envelope)[8] or b"")
    return found


def tree_files(part: Part, schemas: Schemas) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Return the files of one tree's records, and what each line says.

    Raises Detected(LEAF_MISMATCH) where a record is not the one that was sealed.
    """
    lines, files = [], {f"heads/{part.folder}.{CHECKPOINT}": part.checkpoint}
    for record in part.records:
        told = sealed_record(part, record, schemas)
        index = told.line["index"]
        more = {"revealed": list(record.revealed)} if record.revealed else {}
        lines.append(told.line | more)
        if not part.whole:
            path = inclusion_proof(index, part.size, part.tiles.node)
            name = f"proofs/{part.folder}/{index}{SUFFIX}"
            files[name] = Proof(index, tuple(path), part.checkpoint).raw()
    files[f"events/{part.folder}.jsonl"] = b"".join(line_of(line) + b"\n" for line in lines)
    files[f"envelopes/{part.folder}.bin"] = prefixed([r.envelope for r in part.records])
    if part.whole:
        files |= {f"tiles/{part.folder}/{name}": data for name, data in part.files.items()}
    return files, lines


def sealed_record(part: Part, record: Stored, schemas: Schemas) -> Told:
    """Return a record of a tree; raises Detected(LEAF_MISMATCH) where it is not the one that was sealed."""
    where = f"{part.folder}, offset {record.offset}"
    try:
        told = tell(part.folder, record.offset, record.log_time, record.envelope, schemas)
        index = told.line["index"]
        where = f"{part.folder}#{index}"
        sound = index < part.size and part.tiles.entry(index) == told.leaf
    except (ValueError, LookupError):
        sound = False
    if not sound:
        raise Detected("LEAF_MISMATCH", "a record is not as it was sealed", where=where)
    return told


def schema_files(schemas: Schemas) -> dict[str, bytes]:
    """Return the schemas as files named by id and type."""
    return {
        f"schemas/{number:04d}-{msgspec.json.decode(text)['name'].rpartition('.')[2]}.avsc": text.encode()
        for number, text in schemas.texts.items()
    }


def as_json(value: Any) -> bytes:
    """Return JSON of one form, for people too."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n"


class Draft(NamedTuple):
    """A pack before it is handed over: all its files but those below `sealed/`."""

    files: dict[str, bytes]
    manifest: bytes

    @property
    def hashed(self) -> bytes:
        """The SHA-256 of the manifest."""
        return sha256(self.manifest).digest()


def draft(files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Draft:
    """Return a pack of files with its manifest; `facts` are what the manifest says beside them."""
    whole = {**files, "verify.py": verifier(), "VERIFY.txt": VERIFY_TEXT.encode()}
    listed = {
        name: {"size": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in whole.items()
    }
    return Draft(whole, as_json({"format": FORMAT, **facts, "files": listed}))


def finished(made: Draft, note: bytes, sealed: Mapping[str, bytes]) -> Iterable[bytes]:
    """Yield the bytes of the zip."""
    return zipped(
        {
            **made.files,
            "manifest.json": made.manifest,
            "manifest.note": note,
            **{f"sealed/{name}": data for name, data in sealed.items()},
        }
    )


def trees_of(parts: Iterable[Part]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of its trees."""
    return {
        part.folder: {"size": part.size, "records": len(part.records), "whole": part.whole}
        for part in parts
    }
