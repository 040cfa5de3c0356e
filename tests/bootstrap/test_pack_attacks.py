"""What can be done to an audit pack, and that each of it is refused with a code of its own."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from typing import Any

import pytest
from pack_world import (
    AUDITOR,
    STREAM,
    PackWorld,
    code_of,
    files_of,
    lines,
    told,
    zip_of,
)

from usance.adapters.proof_files import read_key
from usance.audit.codes import Detected
from usance.audit.merkle import consistency_proof, prefix_root
from usance.audit.note import (
    SigningKey,
    Verifier,
    b64,
    open_checkpoint,
)
from usance.audit.pack_proofs import Refused as NotVerified
from usance.audit.pack_records import line_of, prefixed, unprefixed
from usance.audit.pack_verify import judge
from usance.bootstrap.packs.handing import Pack
from usance.bootstrap.packs.pack_scope import Request
from usance.bootstrap.packs.packing import Packer
from usance.engine.proof.notary import sign

FLIPS = 1_500
TREE = "trade.events"


# -- what an attacker does to it


def test_a_flipped_bit_anywhere_is_refused(small: Pack) -> None:
    rng = random.Random(7)
    data = bytearray(small.data)
    for at in rng.sample(range(len(data)), FLIPS):
        bit = 1 << rng.randrange(8)
        data[at] ^= bit
        assert code_of(bytes(data), small.fingerprint), f"byte {at}, bit {bit}"
        data[at] ^= bit
    assert not code_of(bytes(data), small.fingerprint)


def test_a_flipped_bit_is_refused_even_where_the_zip_is_made_anew_around_it(small: Pack) -> None:
    rng, files = random.Random(8), files_of(small)
    for name in sorted(files):
        content = bytearray(files[name])
        for at in rng.sample(range(len(content)), min(3, len(content))):
            content[at] ^= 1 << rng.randrange(8)
            assert code_of(zip_of({**files, name: bytes(content)}), small.fingerprint), (
                f"{name} {at}"
            )
            content[:] = files[name]


@pytest.mark.slow
def test_no_byte_of_the_pack_is_without_cover(small: Pack) -> None:
    rng = random.Random(9)
    data = bytearray(small.data)
    for at in range(len(data)):
        bit = 1 << rng.randrange(8)
        data[at] ^= bit
        assert code_of(bytes(data)), f"byte {at}, bit {bit}"
        data[at] ^= bit


def _refuse_flips(pack: Pack, step: int) -> None:
    """Flip bits of what the manifest does not list, in a zip that is made anew around them."""
    files = files_of(pack)
    for name in [n for n in files if n.startswith(("sealed/", "manifest.note"))]:
        content = bytearray(files[name])
        for place in range(len(name) % step, len(content) * 8, step):
            content[place // 8] ^= 1 << place % 8
            assert code_of(zip_of({**files, name: bytes(content)})), f"{name} bit {place}"
            content[place // 8] ^= 1 << place % 8


@pytest.mark.slow
def test_no_byte_of_what_the_manifest_does_not_list_is_without_cover(small: Pack) -> None:
    _refuse_flips(small, 9)


@pytest.mark.nightly
def test_no_bit_of_what_the_manifest_does_not_list_is_without_cover(small: Pack) -> None:
    _refuse_flips(small, 1)


@pytest.mark.nightly
def test_every_bit_of_the_pack_is_covered(small: Pack) -> None:
    data = bytearray(small.data)
    for place in range(len(data) * 8):
        data[place // 8] ^= 1 << place % 8
        assert code_of(bytes(data)), f"bit {place}"
        data[place // 8] ^= 1 << place % 8


def test_a_pack_that_is_cut_or_grown_is_refused(small: Pack) -> None:
    data = small.data
    for end in (0, 1, 21, 22, 100, len(data) // 2, len(data) - 22, len(data) - 1):
        assert code_of(data[:end]) == "MALFORMED"
    assert code_of(data + b"\0") == "MALFORMED"
    assert code_of(b"\0" + data) == "MALFORMED"
    assert code_of(data + data) == "MALFORMED"


def test_zips_that_other_programs_make_are_refused(small: Pack) -> None:
    files = files_of(small)

    def made(method: int, more: list[tuple[str, bytes]]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as found:
            for name, data in [*files.items(), *more]:
                found.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
        return out.getvalue()

    bomb = [("zeros.bin", bytes(10_000_000))]
    assert code_of(made(zipfile.ZIP_DEFLATED, bomb)) == "MALFORMED"
    assert code_of(made(zipfile.ZIP_STORED, [("../../etc/passwd", b"x")])) == "MALFORMED"
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = made(zipfile.ZIP_STORED, [("manifest.json", files["manifest.json"])])
    assert code_of(twice) == "MALFORMED"


def test_files_that_change_places_come_or_go_are_refused(small: Pack) -> None:
    files = files_of(small)
    proofs = sorted(n for n in files if n.startswith(f"proofs/{TREE}"))
    one, two = proofs[0], proofs[1]
    assert code_of(zip_of({**files, one: files[two], two: files[one]})) == "PACK_ALTERED"
    assert code_of(zip_of({**files, "more.txt": b"more"})) == "PACK_ALTERED"
    assert code_of(zip_of({**files, "sealed/more.txt": b"more"})) == "PACK_ALTERED"
    for name in files:
        less = {n: data for n, data in files.items() if n != name}
        assert code_of(zip_of(less)), name


def test_an_altered_record_is_named(small: Pack) -> None:
    files = files_of(small)
    name = next(n for n in files if n.startswith(f"envelopes/{TREE}"))
    stored = bytearray(files[name])
    stored[-1] ^= 1  # the last byte of the last record's value
    refused = told(zip_of({**files, name: bytes(stored)}))
    assert isinstance(refused, Exception) and refused.code == "LEAF_MISMATCH"
    last = lines(files)[-1]
    assert refused.where == f"{TREE}/p{last['partition']:03d}#{last['index']}"


# -- what somebody does who makes the manifest anew


class Forger:
    """Alters a pack and makes its manifest anew, with the bank's key or with one of their own."""

    def __init__(self, packs: PackWorld, pack: Pack, *, key: SigningKey | None = None) -> None:
        self.files = files_of(pack)
        self.base = packs.evidence.origins.base
        self.key = key or read_key(packs.evidence.places.key)
        self.manifest = json.loads(self.files["manifest.json"])

    def forged(self, **facts: Any) -> bytes:
        manifest = self.manifest | facts
        manifest["files"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.files.items()
            if not name.startswith(("sealed/", "manifest."))
        }
        raw = json.dumps(manifest, indent=1, sort_keys=True).encode()
        hashed = hashlib.sha256(raw).digest()
        origin = f"{self.base}/packs"
        text = f"{origin}\n{b64(hashed)}\n"
        self.files |= {"manifest.json": raw, "manifest.note": sign(text, origin, self.key)}
        return zip_of(self.files)


def test_another_manifest_is_refused_though_the_banks_key_signed_it(
    packs: PackWorld, small: Pack
) -> None:
    forger = Forger(packs, small)
    forger.files["README.html"] = b"<p>All is well.</p>"
    found = told(forger.forged(), small.fingerprint)
    assert isinstance(found, Exception) and found.code == "PACK_ALTERED"
    assert "another pack was handed over" in str(found)


def test_keys_of_the_forgers_own_are_refused_by_who_knows_the_banks(
    packs: PackWorld, small: Pack
) -> None:
    key = SigningKey(bytes(range(32)))
    forger = Forger(packs, small, key=key)
    text = "".join(
        f"log {Verifier(line.split()[1].split('+')[0], key.public).vkey}\n"
        for line in forger.files["policy.txt"].decode().splitlines()
        if line.startswith("log ")
    )
    forger.files["policy.txt"] = (text + "quorum none\n").encode()
    assert code_of(forger.forged(), small.fingerprint) == "UNKNOWN_KEY"
    assert code_of(forger.forged(), files_of(small)["policy.txt"]) == "UNKNOWN_KEY"


def refused(data: bytes, trusted: bytes | str | None = None) -> tuple[str, str]:
    """Return code and place of the refusal of a pack."""
    found = told(data, trusted)
    assert isinstance(found, NotVerified), found
    return found.code, str(found)


def test_a_genuine_pack_is_refused_under_another_fingerprint(small: Pack) -> None:
    assert code_of(small.data, small.fingerprint) == ""
    other = b64(hashlib.sha256(b"another bank's keys").digest())
    code, said = refused(small.data, other)
    assert code == "UNKNOWN_KEY" and "fingerprint" in said


def test_an_old_signature_under_a_new_manifest_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    note = forger.files["manifest.note"]
    forger.forged()  # a manifest in another form, of the same facts
    code, said = refused(zip_of({**forger.files, "manifest.note": note}), small.fingerprint)
    assert code == "PACK_ALTERED" and "another manifest was signed" in said


def test_a_proof_that_carries_another_head_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    name = next(n for n in forger.files if n.startswith(f"proofs/{TREE}"))
    own, other = [forger.files[n] for n in sorted(forger.files) if n.startswith("heads/")][:2]
    proof = forger.files[name]
    mine = own if own in proof else other
    assert mine in proof
    forger.files[name] = proof.replace(mine, other if mine is own else own)
    code, said = refused(forger.forged(), small.fingerprint)
    assert code == "PROOF_INVALID" and "of another head" in said


def test_a_head_that_was_not_known_then_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    packer = Packer(packs.evidence, packs.runtime.directory.actor(AUDITOR), packs.names)
    raw = forger.files["sealed/heads.checkpoint"]
    top = open_checkpoint(raw, packer.policy.log(packer.origins.heads)).size
    tree = packer.tree(packer.heads_folder, top)
    proof = consistency_proof(packs.early, top, tree.node)
    forger.files["sealed/known-at.consistency"] = "".join(b64(h) + "\n" for h in proof).encode()
    then = {"heads": packs.early, "root": b64(prefix_root(packs.early, tree.node))}
    code, said = refused(forger.forged(known_at=then), small.fingerprint)
    assert code == "STALE_HEAD" and "not known then" in said


def _without(forger: Forger, drop: int) -> None:
    """Take one event out of a pack, with its proof, its stored bytes and its place in the counts."""
    files = forger.files
    name = next(n for n in files if n.startswith(f"events/{TREE}"))
    folder = name.removeprefix("events/").removesuffix(".jsonl")
    told_lines = files[name].splitlines(keepends=True)
    stored = unprefixed(files[f"envelopes/{folder}.bin"], folder)
    index = json.loads(told_lines[drop])["index"]
    del told_lines[drop], stored[drop]
    files[name] = b"".join(told_lines)
    files[f"envelopes/{folder}.bin"] = b"".join(len(s).to_bytes(4, "big") + s for s in stored)
    del files[f"proofs/{folder}/{index}.tlog-proof"]
    forger.manifest["trees"][folder]["records"] -= 1


@pytest.mark.parametrize("drop", [0, 5, -1])
def test_an_event_that_is_left_out_of_a_pack_is_missed(
    packs: PackWorld, small: Pack, drop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usance.audit import pack_verify

    forger = Forger(packs, small)
    _without(forger, drop)
    # As if the bank itself had handed the smaller pack over: the hand-over names it.
    monkeypatch.setattr(pack_verify.Pack, "_export", _export_of(forger))
    monkeypatch.setattr(pack_verify.Pack, "_receipts", lambda *_: None)
    found = told(forger.forged(), small.fingerprint)
    assert isinstance(found, Exception) and found.code == "INCOMPLETE", found


def test_a_promised_event_that_is_left_out_is_missed_by_its_receipt(
    packs: PackWorld, small: Pack
) -> None:
    forger = Forger(packs, small)
    _without(forger, 5)
    assert code_of(forger.forged(), small.fingerprint) == "RECEIPT_UNMET"


def _export_of(forger: Forger) -> Any:
    content = json.loads(forger.files["sealed/export.jsonl"])

    def export(self: Any, manifest: str) -> None:
        self.handed, self.export = content, content["content"]

    return export


def test_the_proof_of_another_record_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    one, two = sorted(n for n in forger.files if n.startswith(f"proofs/{TREE}"))[:2]
    files = forger.files
    files[one], files[two] = files[two], files[one]
    assert code_of(forger.forged(), small.fingerprint) == "PROOF_INVALID"


def test_a_schema_that_reads_bytes_otherwise_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    name = next(n for n in forger.files if n.endswith("CreditApplied.avsc"))
    forger.files[name] = forger.files[name].replace(b"credit", b"tiderc", 1)
    assert code_of(forger.forged(), small.fingerprint) == "SCHEMA_SWAPPED"


def test_a_line_that_says_more_than_its_record_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    name = next(n for n in forger.files if n.startswith(f"events/{TREE}"))
    said = [json.loads(line) for line in forger.files[name].splitlines()]
    said[0]["content"]["credit"] = "TF26LC0666"
    forger.files[name] = b"".join(line_of(one) + b"\n" for one in said)
    assert code_of(forger.forged(), small.fingerprint) == "PACK_ALTERED"


def test_a_head_of_another_tree_is_refused(packs: PackWorld, small: Pack) -> None:
    forger = Forger(packs, small)
    name = next(n for n in forger.files if n.startswith(f"heads/{TREE}"))
    forger.files[name] = forger.files["heads/system.schemas/p000.checkpoint"]
    assert code_of(forger.forged(), small.fingerprint) == "WRONG_ORIGIN"


def test_a_record_of_a_whole_partition_that_was_altered_is_named(
    packs: PackWorld, whole: Pack
) -> None:
    forger = Forger(packs, whole)
    name = f"envelopes/{TREE}/p000.bin"
    stored = unprefixed(forger.files[name], name)
    lines_ = forger.files[f"events/{TREE}/p000.jsonl"].splitlines()
    said = json.loads(lines_[7])
    said["log_time"] += 1
    lines_[7] = line_of(said)
    forger.files[f"events/{TREE}/p000.jsonl"] = b"".join(line + b"\n" for line in lines_)
    found = told(forger.forged(), whole.fingerprint)
    assert isinstance(found, Exception)
    assert (found.code, found.where) == ("LEAF_MISMATCH", f"{TREE}/p000#7")
    assert len(stored) == len(lines_)


def test_the_bytes_of_a_whole_partition_can_be_verified_alone(
    packs: PackWorld, whole: Pack
) -> None:
    assert judge(memoryview(whole.data), whole.fingerprint, lines=False)["records"] == whole.records
    forger = Forger(packs, whole)
    name = f"envelopes/{TREE}/p000.bin"
    stored = unprefixed(forger.files[name], name)
    stored[9] = stored[9][:-1] + bytes([stored[9][-1] ^ 1])
    forger.files[name] = prefixed(stored)
    with pytest.raises(NotVerified) as refused:
        judge(memoryview(forger.forged()), whole.fingerprint, lines=False)
    assert (refused.value.code, refused.value.where) == ("LEAF_MISMATCH", f"{TREE}/p000#9")


def test_a_log_that_was_altered_gives_no_pack(
    packs: PackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usance.bootstrap.packs import packing

    real = packing.Stored.of

    def altered(record: Any, revealed: Any = ()) -> Any:
        found = real(record, revealed)
        changed = found.envelope[:-1] + bytes([found.envelope[-1] ^ 1])
        return found._replace(envelope=changed) if record.key == STREAM.encode() else found

    monkeypatch.setattr(packing.Stored, "of", altered)
    with pytest.raises(Detected) as found:
        packs.pack(Request("query", f"stream={STREAM}"))
    assert found.value.code == "LEAF_MISMATCH"
