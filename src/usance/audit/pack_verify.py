"""Verify an audit pack with nothing but Python: no network, no other file, no part of usance.

    python3 -I -S verify.py PACK.zip --trust FINGERPRINT

FINGERPRINT is the 44 characters of the pack's policy (SHA-256 in base64) as the covering letter prints them, or
a policy file that you hold. Without it the pack is judged by the keys that it brings itself: that shows that
it is whole, not whose it is. Exit code 0: accepted. 1: refused, with the code of the attack and the first
wrong record. 2: it could not be judged.

Checked are: every byte of the zip; the signed manifest and each file's hash; the signatures of all heads,
their places in the log of heads, its cosignatures; each record's stored bytes against its leaf, and the
leaf's place in its tree; what each line says against the stored bytes; the schemas against the records
that registered them; revisions without a gap, up to the sealed count of each stream; the hash chain;
receipts; and that the handing over of this very pack is itself in the log.
"""

from __future__ import annotations

import argparse
import json
import mmap
import struct
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from usance.audit.pack_proofs import (
    Head,
    Key,
    Notes,
    Refused,
    b64,
    extends,
    hashes,
    included,
    leaf_hash,
    malformed,
    read_policy,
    read_proof,
    root_of,
    unb64,
)
from usance.audit.pack_records import (
    Schemas,
    Told,
    index_entry,
    line_of,
    parts_of,
    place_of,
    prefixed,
    tell,
    unprefixed,
    unzipped,
)

FORMAT = "usance-pack/1"
REGISTRY = "system.schemas/p000"
UNLISTED = {"manifest.json", "manifest.note"}
"""Files that the manifest does not list; those below `sealed/` are the others. All are proven otherwise."""
BUNDLE = 256
LEAF_BYTES = 62
BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""What bytes can raise that no honest writer makes."""


class Pack:
    """An audit pack; `verify` returns what was verified, or raises Refused."""

    def __init__(
        self, data: memoryview, trusted: bytes | str | None = None, *, lines: bool = True
    ) -> None:
        self.files = unzipped(data)
        self.lines = lines
        """Whether the lines of whole trees are held against their stored bytes too."""
        self.trusted = trusted
        self.where = "manifest.json"
        self.schemas = Schemas()
        self.heads: dict[str, Head] = {}
        self.hashes: dict[str, dict[int, bytes]] = defaultdict(dict)
        """Envelope hashes of events by tree and index."""
        self.created: dict[str, str] = {}
        """What keys commit to, as the log says where they first sealed."""
        self.streams: dict[str, list[tuple[int, int, str, str]]] = defaultdict(list)
        """Revision, index, tree and time of the events of each stream."""
        self.counts = {
            "records": 0,
            "clear": 0,
            "sealed": 0,
            "erased": 0,
            "revealed": 0,
            "receipts": 0,
        }

    def verify(self) -> dict[str, Any]:
        """Return a report; raises Refused at the first thing that is wrong."""
        try:
            return self._verify()
        except BROKEN as error:
            raise malformed(f"{type(error).__name__}: {error}", self.where) from error

    def _verify(self) -> dict[str, Any]:
        raw = self._file("manifest.json")
        self.manifest: dict[str, Any] = json.loads(raw)
        if self.manifest["format"] != FORMAT:
            raise malformed(f"this is no {FORMAT}", "manifest.json")
        self.base: str = self.manifest["base"]
        self.trees: dict[str, dict[str, Any]] = self.manifest["trees"]
        altered = self._altered()
        self._policy()
        self._signed(raw)
        if altered:
            self._blame(altered)
        self._heads()
        self._registry()
        self.keys = {one["key"]: one for one in json.loads(self._file("keys.json"))["keys"]}
        for folder in sorted(self.trees):
            self._records(folder)
        self._export(sha256(raw).hexdigest())
        self._complete()
        self._names()
        return self._report()

    def _file(self, name: str) -> bytes:
        self.where = name
        if name not in self.files:
            raise Refused("PACK_ALTERED", "this file is missing", name)
        return bytes(self.files[name])

    # -- files, keys, heads

    def _altered(self) -> str:
        """Return the first file that is not as the manifest lists it, empty when all are."""
        listed = self.manifest["files"]
        unlisted = {n for n in self.files if n in UNLISTED or n.startswith("sealed/")}
        if self.files.keys() - unlisted != listed.keys() or listed.keys() & UNLISTED:
            names = sorted((self.files.keys() - unlisted) ^ listed.keys())
            raise Refused("PACK_ALTERED", "the pack has other files than its manifest", names[0])
        for name, said in sorted(listed.items()):
            if said != {
                "sha256": sha256(self.files[name]).hexdigest(),
                "size": len(self.files[name]),
            }:
                return str(name)
        return ""

    def _blame(self, name: str) -> None:
        """Name the first wrong record, where a file of records was altered; always raises."""
        kind, _, rest = name.partition("/")
        folder = rest.rpartition(".")[0]
        if kind in ("events", "envelopes") and folder in self.trees:
            self._heads()
            self._registry()
            self._records(folder)
        raise Refused("PACK_ALTERED", "the file is not as the signed manifest lists it", name)

    def _policy(self) -> None:
        raw = own = self._file("policy.txt")
        if isinstance(self.trusted, bytes):
            raw = self.trusted
        elif self.trusted and self.trusted != b64(sha256(own).digest()):
            raise Refused("UNKNOWN_KEY", "its keys are not those of this fingerprint", "policy.txt")
        self.policy = read_policy(raw)
        self.notes = Notes(self.policy)

    def _signed(self, raw: bytes) -> None:
        """The manifest must be signed by the key that signs the log of heads."""
        origin, signer = f"{self.base}/packs", self.policy.logs.get(f"{self.base}/heads")
        if signer is None:
            raise Refused("UNKNOWN_KEY", f"no key is trusted for {self.base}/heads", "policy.txt")
        key = Key(origin, signer.public, signer.kind)
        text, _ = self.notes.open(self._file("manifest.note"), key, "manifest.note")
        if text != f"{origin}\n{b64(sha256(raw).digest())}\n":
            raise Refused("PACK_ALTERED", "another manifest was signed", "manifest.json")

    def _heads(self) -> None:
        """Every head must be signed, and stand in the log of heads of a head that witnesses cosigned."""
        self.newest = self._file("sealed/heads.checkpoint")
        origin = f"{self.base}/heads"
        self.top = self.notes.head(self.newest, origin, self.where, quorum=True)
        known = self.manifest["known_at"]
        proof = hashes(self._file("sealed/known-at.consistency").decode())
        if not extends(known["heads"], self.top.size, unb64(known["root"]), self.top.root, proof):
            raise Refused(
                "FORK", "the heads known then are not the first of those known now", self.where
            )
        for folder, tree in sorted(self.trees.items()):
            raw = self._file(f"heads/{folder}.checkpoint")
            head = self.notes.head(raw, f"{self.base}/{folder}", self.where)
            if head.size != tree["size"]:
                raise Refused(
                    "WRONG_ORIGIN", "the head has another size than the manifest says", folder
                )
            at = self._logged(raw, f"sealed/heads/{folder}.tlog-proof")
            if at >= known["heads"] and folder != REGISTRY:
                raise Refused(
                    "STALE_HEAD", "this head was not known then", f"heads/{folder}.checkpoint"
                )
            self.heads[folder] = head
        self.anchors = sorted(
            n for n in self.files if n.startswith("anchors/") and n.endswith(".checkpoint")
        )
        for name in self.anchors:
            old = self.notes.head(self._file(name), origin, name)
            proof = hashes(
                self._file(f"sealed/{name.removesuffix('.checkpoint')}.consistency").decode()
            )
            if not extends(old.size, self.top.size, old.root, self.top.root, proof):
                raise Refused(
                    "ANCHOR_MISMATCH", "the log of heads does not extend this anchor", name
                )

    def _logged(self, entry: bytes, name: str) -> int:
        """Return the index at which the log of heads holds an entry."""
        proof = read_proof(self._file(name), name)
        if proof.checkpoint != self.newest:
            raise Refused("PROOF_INVALID", "it proves something about another head", name)
        if not included(leaf_hash(entry), proof.at, self.top.size, proof.path, self.top.root):
            raise Refused("PROOF_INVALID", "it does not show this head in the log of heads", name)
        return proof.at

    # -- records

    def _registry(self) -> None:
        """Take in the schemas that the log's own records register; their files must say the same."""
        for envelope in unprefixed(self._file(f"envelopes/{REGISTRY}.bin"), self.where):
            self.schemas.register(parts_of(envelope)[8] or b"")
        names = {}
        for number, text in self.schemas.texts.items():
            names[f"schemas/{number:04d}-{json.loads(text)['name'].rpartition('.')[2]}.avsc"] = text
        found = {n for n in self.files if n.startswith("schemas/")}
        for name in sorted(found ^ names.keys()) + sorted(found & names.keys()):
            if name not in found or name not in names or self._file(name) != names[name].encode():
                raise Refused("SCHEMA_SWAPPED", "it is not the schema that was registered", name)

    def _records(self, folder: str) -> None:
        """Verify the records of one tree."""
        self.where = f"events/{folder}.jsonl"
        lines = self._file(self.where).split(b"\n")
        envelopes = unprefixed(self._file(f"envelopes/{folder}.bin"), self.where)
        if (
            lines.pop()
            or len(lines) != len(envelopes)
            or len(lines) != self.trees[folder]["records"]
        ):
            raise Refused("PACK_ALTERED", "lines and stored bytes are not one to one", folder)
        told: list[Told] = []
        leaves: list[bytes] = []
        whole = self.trees[folder]["whole"]
        if whole and not self.lines:
            self._bytes(folder, envelopes)
            return
        for line, envelope in zip(lines, envelopes, strict=True):
            one = self._record(folder, line, envelope)
            if told:
                self._follows(told[-1], one)
            told = [one]
            if not whole:
                self._proven(folder, one)
            elif one.line["index"] != len(leaves):
                raise Refused("INDEX_GAP", f"record {len(leaves)} is not in the pack", self.where)
            leaves.append(one.leaf)
            self._count(folder, one)
        if whole:
            self._root(folder, leaves)

    def _record(self, folder: str, line: bytes, envelope: bytes) -> Told:
        """Return a record whose line says what its stored bytes say."""
        said = json.loads(line)
        self.where = where = f"{folder}#{said['index']}"
        try:
            one = tell(folder, said["offset"], said["log_time"], envelope, self.schemas)
        except (*BROKEN, Refused) as error:
            raise Refused(
                "LEAF_MISMATCH", f"its stored bytes are no record: {error}", where
            ) from error
        if said["leaf_hash"] != leaf_hash(one.leaf).hex():
            raise Refused("LEAF_MISMATCH", "its stored bytes are not those of its leaf", where)
        revealed = said.pop("revealed", [])
        whole = one.line | ({"revealed": revealed} if revealed else {})
        if line != line_of(whole):
            raise Refused(
                "PACK_ALTERED", "its line says something else than its stored bytes", where
            )
        if {r["name"] for r in revealed} - {s["name"] for s in one.line["sealed"]}:
            raise Refused("PACK_ALTERED", "a block is revealed that is not sealed", where)
        self.counts["revealed"] += len(revealed)
        return one

    def _follows(self, before: Told, one: Told) -> None:
        a, b = before.line, one.line
        if a["index"] >= b["index"] or a["offset"] >= b["offset"]:
            raise Refused("CHAIN_BREAK", "it does not come behind the record before it", self.where)
        if a["log_time"] > b["log_time"]:
            raise Refused("TIME_REGRESSION", "it is older than the record before it", self.where)
        if (
            a["index"] + 1 == b["index"]
            and sha256(before.prev + before.hashed).digest() != one.prev
        ):
            raise Refused("CHAIN_BREAK", "it was chained to another record", self.where)

    def _proven(self, folder: str, one: Told) -> None:
        name, head = f"proofs/{folder}/{one.line['index']}.tlog-proof", self.heads[folder]
        proof = read_proof(self._file(name), name)
        self.where = f"{folder}#{one.line['index']}"
        if proof.checkpoint != self.files[f"heads/{folder}.checkpoint"]:
            raise Refused("PROOF_INVALID", "its proof is of another head", self.where)
        index = one.line["index"]
        path = proof.path
        if proof.at != index or not included(
            leaf_hash(one.leaf), index, head.size, path, head.root
        ):
            raise Refused("PROOF_INVALID", "its proof does not show it in its tree", self.where)

    def _bytes(self, folder: str, envelopes: list[bytes]) -> None:
        """Verify the stored bytes of a whole tree against its leaves, and the leaves against its root."""
        size, index, row = self.heads[folder].size, 0, list[bytes]()
        for number in range(-(-size // BUNDLE)):
            width = min(BUNDLE, size - number * BUNDLE)
            bundle = self._file(f"tiles/{folder}/tile/entries/{bundle_name(number, width)}")
            for at in range(2, width * (LEAF_BYTES + 2), LEAF_BYTES + 2):
                entry = bundle[at : at + LEAF_BYTES]
                if entry[30:] != sha256(envelopes[index]).digest():
                    raise Refused(
                        "LEAF_MISMATCH", "it is not as it was sealed", f"{folder}#{index}"
                    )
                row.append(sha256(b"\0" + entry).digest())
                index += 1
        if index != len(envelopes) or root_of(row) != self.heads[folder].root:
            raise Refused(
                "TILE_MISMATCH", "its leaves do not make the root that was signed", folder
            )
        self.counts["records"] += index

    def _root(self, folder: str, leaves: list[bytes]) -> None:
        """The leaves of a whole tree must make its root; where not, name the first wrong one."""
        head = self.heads[folder]
        if len(leaves) == head.size and root_of([leaf_hash(leaf) for leaf in leaves]) == head.root:
            return
        for index, leaf in enumerate(leaves):
            number, at = divmod(index, BUNDLE)
            width = min(BUNDLE, head.size - number * BUNDLE)
            name = f"tiles/{folder}/tile/entries/{bundle_name(number, width)}"
            entry = self._file(name)[at * (LEAF_BYTES + 2) + 2 : (at + 1) * (LEAF_BYTES + 2)]
            if entry != leaf:
                raise Refused("LEAF_MISMATCH", "it is not as it was sealed", f"{folder}#{index}")
        raise Refused("TILE_MISMATCH", "the records do not make the root that was signed", folder)

    def _count(self, folder: str, one: Told) -> None:
        line = one.line
        self.counts["records"] += 1
        kind = place_of(folder)[1]
        if line["type"] == "usance.system.KeyCreated":
            self.created[line["content"]["key"]] = line["content"]["check"]
        if kind == "events":
            self.hashes[folder][line["index"]] = one.hashed
            found = (line["meta"]["revision"], line["index"], folder, line["time"])
            self.streams[line["stream"]].append(found)
        content = line["content"] or {}
        if kind == "outcomes":
            self._receipts(folder.replace(".outcomes/", ".events/"), content)
        self.counts["clear"] += sum(block["clear"] for block in content.get("private", ()))
        for block in line["sealed"]:
            key = self.keys[block["key"]]
            erased = key["state"].startswith("destroyed")
            if erased and not key["certificate"]:
                raise Refused(
                    "KEY_MISSING", "a key was destroyed without a certificate", self.where
                )
            for check in (key.get("check", ""), self.created.get(block["key"], "")):
                if not block["commit"].startswith(check):
                    raise Refused("KEY_COMMITMENT", "a block commits to another key", self.where)
            self.counts["erased" if erased else "sealed"] += 1

    def _receipts(self, folder: str, outcome: Mapping[str, Any]) -> None:
        """What an outcome promises must be in the pack, as far as its head and scope reach."""
        for said in outcome.get("receipts", ()):
            hashed = self.hashes[folder].get(said["index"])
            if hashed is not None and hashed.hex() != said["envelope_hash"]:
                raise Refused(
                    "RECEIPT_UNMET",
                    "an outcome promises another event",
                    f"{folder}#{said['index']}",
                )
            self.counts["receipts"] += hashed is not None
            due = folder in self.heads and said["index"] < self.heads[folder].size
            if hashed is None and due and not self.manifest["as_of"]:
                raise Refused(
                    "RECEIPT_UNMET", "it was promised and is not here", f"{folder}#{said['index']}"
                )

    # -- handing over, completeness

    def _export(self, manifest: str) -> None:
        """The event that hands this pack over must be in the log, and name this manifest."""
        (envelope,) = unprefixed(self._file("sealed/export.bin"), "sealed/export.bin")
        line = self._file("sealed/export.jsonl")
        proof = read_proof(self._file("sealed/export.tlog-proof"), "sealed/export.tlog-proof")
        origin = proof.checkpoint.decode().partition("\n")[0]
        folder = origin.removeprefix(f"{self.base}/")
        head = self.notes.head(proof.checkpoint, origin, "sealed/export.tlog-proof")
        self._logged(proof.checkpoint, "sealed/export-head.tlog-proof")
        one = self._record(folder, line.removesuffix(b"\n"), envelope)
        told = one.line
        if line[-1:] != b"\n" or prefixed([envelope]) != self.files["sealed/export.bin"]:
            raise malformed("it has another form than it should", self.where)
        index = told["index"]
        path = proof.path
        if proof.at != index or not included(
            leaf_hash(one.leaf), index, head.size, path, head.root
        ):
            raise Refused("PROOF_INVALID", "the handing over is not in the log", self.where)
        self.export: dict[str, Any] = told["content"]
        if told["type"] != "usance.system.PackExported" or self.export["manifest"] != manifest:
            raise Refused("PACK_ALTERED", "another pack was handed over", self.where)
        self.handed = told

    def _complete(self) -> None:
        """Every stream in scope is here, from its first revision to the count that was sealed."""
        scope = self.manifest["scope"]
        if scope["kind"] == "partition":
            return
        listed = json.loads(self._file("streams.json"))
        sealed = {one["tree"]: one for one in self.export["indexes"]}
        counted: dict[str, Any] = {}
        for folder, index in listed.items():
            said = sealed[folder]
            if [said["size"], said["entries"], said["root"]] != [
                self.trees[folder]["size"], index["entries"], index["root"],
            ]:  # fmt: skip
                raise Refused(
                    "INCOMPLETE", "the index of streams is not the one that was sealed", folder
                )
            for one in index["streams"]:
                self.where = one["stream"]
                entry = index_entry(
                    one["stream"], one["count"], one["last"], bytes.fromhex(one["hash"])
                )
                path, root = (
                    hashes("".join(h + "\n" for h in one["proof"])),
                    bytes.fromhex(index["root"]),
                )
                if not included(leaf_hash(entry), one["at"], index["entries"], path, root):
                    raise Refused("INCOMPLETE", "its count was not sealed", one["stream"])
                counted[one["stream"]] = (folder, one)
        if set(counted) != set(self.manifest["streams"]) or self.streams.keys() - counted.keys():
            raise Refused(
                "INCOMPLETE", "the streams in the pack are not those of its scope", "streams.json"
            )
        self.later = sum(self._stream(name, *counted[name]) for name in sorted(counted))

    def _stream(self, name: str, folder: str, counted: Mapping[str, Any]) -> int:
        """Return how many events of a stream are later than the pack looks."""
        events, as_of = self.streams.get(name, []), self.manifest["as_of"]
        for due, (revision, index, tree, time) in enumerate(events, 1):
            if revision != due or tree != folder:
                raise Refused(
                    "INCOMPLETE", f"revision {due} of {name} is not here", f"{tree}#{index}"
                )
            if as_of and time > as_of:
                raise Refused("PACK_ALTERED", f"it is later than {as_of}", f"{tree}#{index}")
        later: int = counted["count"] - len(events)
        if later < 0 or (later and not as_of):
            raise Refused("INCOMPLETE", f"{later} events of {name} are not here", folder)
        if not later:
            last = events[-1][1]
            if last != counted["last"] or self.hashes[folder][last].hex() != counted["hash"]:
                raise Refused("INCOMPLETE", f"the last event of {name} is another", folder)
        return later

    def _names(self) -> None:
        """Below `sealed/` and `proofs/` nothing lies that was not looked at."""
        due = {"heads.checkpoint", "known-at.consistency", "export.bin", "export.jsonl"}
        due |= {"export.tlog-proof", "export-head.tlog-proof"}
        due |= {f"heads/{folder}.tlog-proof" for folder in self.trees}
        due |= {n.removesuffix(".checkpoint") + ".consistency" for n in self.anchors}
        proofs = sum(t["records"] for t in self.trees.values() if not t["whole"])
        more = {n for n in self.files if n.startswith("sealed/")} ^ {f"sealed/{n}" for n in due}
        if more or proofs != sum(n.startswith("proofs/") for n in self.files):
            raise Refused(
                "PACK_ALTERED", "the pack has files that it should not have", min(more, default="")
            )

    def _report(self) -> dict[str, Any]:
        return {
            "accepted": True,
            "by": "its own keys" if self.trusted is None else "keys from outside",
            "fingerprint": b64(sha256(self.files["policy.txt"]).digest()),
            "verifier": sha256(self.files["verify.py"]).hexdigest(),
            "head": {"origin": self.top.origin, "size": self.top.size, "root": b64(self.top.root)},
            "witnessed": list(self.top.times),
            "anchors": len(self.anchors),
            "scope": self.manifest["scope"],
            "streams": len(self.streams),
            "known_at": self.manifest["known_at"]["heads"],
            "as_of": self.manifest["as_of"],
            "later": getattr(self, "later", 0),
            "handed_over": {
                "at": self.handed["time"],
                "by": self.handed["meta"]["actor"]["person"],
            },
            **self.counts,
        }


def bundle_name(number: int, width: int) -> str:
    """Return the name of an entry bundle below `tile/entries/`."""
    text = f"{number % 1000:03d}"
    while number := number // 1000:
        text = f"x{number % 1000:03d}/{text}"
    return text if width == BUNDLE else f"{text}.p/{width}"


def lines_of(found: Mapping[str, Any]) -> Sequence[str]:
    """Return a report as text."""
    head, own = found["head"], found["by"] == "its own keys"
    at = (
        f"witnessed {found['witnessed'][0]} (Unix seconds)"
        if found["witnessed"]
        else "not witnessed"
    )
    by = "WHOLE, BY ITS OWN KEYS:" if own else "ACCEPTED"
    as_of = f" and {found['as_of']}" if found["as_of"] else ""
    left = (
        f"; {found['later']} later events of these streams are left out" if found["later"] else ""
    )
    check = ": compare this with the covering letter, and give it with --trust" if own else ""
    handed, scope = found["handed_over"], json.dumps(found["scope"], sort_keys=True)
    top = f"head {head['origin']} {head['size']} {head['root']}"
    blocks = f"{found['clear']} blocks in clear, {found['sealed']} sealed, {found['erased']} erased"
    return [
        f"{by} {found['records']} records, {top}, {at}, {found['anchors']} anchors",
        f"scope     {scope}: {found['streams']} streams, complete as of head {found['known_at']}{as_of}{left}",
        f"private   {blocks}, {found['revealed']} revealed by the bank",
        f"receipts  {found['receipts']} met",
        f"handed    {handed['at']} by {handed['by']}, as the log records",
        f"keys      {found['fingerprint']}{check}",
        f"verifier  {found['verifier']} (SHA-256 of the verify.py in the pack)",
    ]


def judge(
    data: memoryview, trusted: bytes | str | None = None, *, lines: bool = True
) -> dict[str, Any]:
    """Return the report of a pack; raises Refused."""
    return Pack(data, trusted, lines=lines).verify()


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the pack that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify an audit pack.")
    parser.add_argument("pack", help="the pack, a .zip")
    parser.add_argument(
        "--trust", help="the policy's fingerprint (44 characters), or a policy file"
    )
    parser.add_argument(
        "--bytes", action="store_true", help="of whole trees: the stored bytes alone"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    said = parser.parse_args(arguments)
    try:
        trusted: bytes | str | None = said.trust
        if said.trust and len(said.trust) != 44:
            if not Path(said.trust).is_file():
                parser.error("--trust is neither a fingerprint (44 characters) nor a policy file")
            trusted = Path(said.trust).read_bytes()
        with Path(said.pack).open("rb") as file:
            empty = file.seek(0, 2) == 0
            data = memoryview(
                b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            )
            found = judge(data, trusted, lines=not said.bytes)
    except OSError as error:
        print(f"cannot be judged: {error}", file=sys.stderr)
        return 2
    except Refused as refused:
        told = {
            "accepted": False,
            "code": refused.code,
            "where": refused.where,
            "reason": refused.reason,
        }
        print(json.dumps(told) if said.json else f"REFUSED {refused}")
        return 1
    print(json.dumps(found) if said.json else "\n".join(lines_of(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
