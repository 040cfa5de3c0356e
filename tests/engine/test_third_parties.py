"""Other people's tools, unmodified, accept a log of ours and refuse every tampered one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_notary import KEY, ORIGINS, Crash, grown, notary_of, world_of

from usance.adapters.proof_files import FolderTiles
from usance.adapters.witnesses import HttpWitness
from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.merkle import consistency_proof, inclusion_proof
from usance.audit.note import Checkpoint, SigningKey, Verifier, open_checkpoint
from usance.audit.proof import Policy, Proof
from usance.audit.tiles import Edge, Tiles, paths
from usance.kernel.errors import Unavailable
from usance.testing import third_parties as others

pytestmark = pytest.mark.go

FOLDER = "trade.events/p000"
ORIGIN = f"{ORIGINS.base}/{FOLDER}"
LOG = Verifier(ORIGIN, KEY.public)
assert Crash


@pytest.fixture(scope="module")
def programs() -> Path:
    try:
        return others.build()
    except Unavailable as offline:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{offline.message}: {offline.hint[-300:]}")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two states of one partition's tree, the second of more than 256 leaves."""
    root = tmp_path_factory.mktemp("trees")
    world = world_of()
    notary = notary_of(world, root)
    states = []
    for rounds in (30, 70):
        grown(world, rounds)
        notary.finish()
        kept = root / f"state-{rounds}"
        shutil.copytree(root / "proof" / FOLDER, kept)
        (kept / "log.vkey").write_text(f"{LOG.vkey}\n")
        states.append(kept)
    notary.heads.close()
    return states[0], states[1]


def head_of(tree: Path) -> Checkpoint:
    return open_checkpoint((tree / "checkpoint").read_bytes(), LOG)


def sign(tree: Path, head: Checkpoint, key: SigningKey = KEY) -> None:
    (tree / "checkpoint").write_bytes(note.sign_note(head.text(), head.origin, key))


def flip(path: Path, at: int = 40) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def rewrite(tree: Path, index: int, key: SigningKey) -> None:
    """Change one entry, and everything that follows from it, and sign the result."""
    head = head_of(tree)
    tiles = Tiles(head.size, FolderTiles(tree).read)
    entries = [tiles.entry(n) for n in range(head.size)]
    entries[index] = entries[index][:-1] + bytes([entries[index][-1] ^ 1])
    edge = Edge()
    shutil.rmtree(tree / "tile")
    FolderTiles(tree).put(edge.extend(entries) | edge.partials())
    sign(tree, head._replace(root=edge.root()), key)


def of_bundle(tree: Path) -> None:
    flip(tree / "tile" / "entries" / "000")


def of_tile(tree: Path) -> None:
    flip(tree / "tile" / "0" / "000")


def of_upper_tile(tree: Path) -> None:
    head = head_of(tree)
    upper = next(p for p in paths(head.size) if p.startswith("tile/1/"))
    flip(tree / upper, 5)


def of_missing_bundle(tree: Path) -> None:
    (tree / "tile" / "entries" / "000").unlink()


def of_root(tree: Path) -> None:
    text = (tree / "checkpoint").read_text()
    head = head_of(tree)
    (tree / "checkpoint").write_text(text.replace(note.b64(head.root), note.b64(bytes(32))))


def of_stranger(tree: Path) -> None:
    rewrite(tree, 7, SigningKey(bytes(32)))


TAMPERED: list[Callable[[Path], None]] = [
    of_bundle,
    of_tile,
    of_upper_tile,
    of_missing_bundle,
    of_root,
    of_stranger,
]


def accepted(programs: Path, tree: Path, *older: Path) -> bool:
    code, said = others.run(programs / "verify", "tree", tree, LOG.vkey, *older)
    assert code in (0, 1), said
    return code == 0


def test_tessera_and_sumdb_accept_the_log_and_its_growth(programs, trees):
    old, new = trees
    assert head_of(new).size > 256
    for tree in trees:
        assert others.fsck(programs, tree)
        assert accepted(programs, tree)
    assert accepted(programs, new, old / "checkpoint")


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda f: f.__name__)
def test_tessera_and_sumdb_refuse_a_tampered_log(programs, trees, tmp_path, tamper):
    tree = tmp_path / "tree"
    shutil.copytree(trees[1], tree)
    assert others.fsck(programs, tree) and accepted(programs, tree)
    tamper(tree)
    assert not others.fsck(programs, tree)
    assert not accepted(programs, tree)


def test_sumdb_refuses_a_rewritten_past_even_with_the_genuine_key(programs, trees, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(trees[1], tree)
    rewrite(tree, 7, KEY)
    assert accepted(programs, tree), "without an older head nobody can know"
    assert not accepted(programs, tree, trees[0] / "checkpoint")


# -- offline proofs

WITNESS = SigningKey(bytes(range(5, 37)))
W1 = Verifier("witness.example/w1", WITNESS.public, note.COSIGNATURE)
POLICY = Policy({ORIGIN: LOG}, {"w1": W1}, {}, "w1")


def proof_of(tree: Path, index: int) -> tuple[Proof, bytes]:
    head = head_of(tree)
    tiles = Tiles(head.size, FolderTiles(tree).read)
    raw = (tree / "checkpoint").read_bytes()
    raw = note.with_signatures(raw, [note.cosign(head.text(), W1.name, WITNESS, 1_767_225_600)])
    path = inclusion_proof(index, head.size, tiles.node)
    return Proof(index, tuple(path), raw), tiles.entry(index)


def proved(
    programs: Path, folder: Path, proof: bytes, leaf: bytes, policy: Policy = POLICY
) -> bool:
    folder.mkdir(exist_ok=True)
    for name, data in (("policy", policy.text().encode()), ("proof", proof), ("leaf", leaf)):
        (folder / name).write_bytes(data)
    words = (folder / "policy", folder / "proof", folder / "leaf")
    code, said = others.run(programs / "verify", "proof", *words)
    assert code in (0, 1), said
    return code == 0


def test_torchwood_accepts_an_offline_proof_and_refuses_six_tampered_ones(
    programs, trees, tmp_path
):
    proof, leaf = proof_of(trees[1], 77)
    _, other = proof_of(trees[1], 78)
    assert proved(programs, tmp_path / "ok", proof.raw(), leaf)
    head = parse(proof.checkpoint)
    forged = note.sign_note(head._replace(root=bytes(32)).text(), ORIGIN, SigningKey(bytes(32)))
    tampered = {
        "other leaf": (proof.raw(), other, POLICY),
        "other index": (proof._replace(at=78).raw(), leaf, POLICY),
        "hash dropped": (proof._replace(hashes=proof.hashes[1:]).raw(), leaf, POLICY),
        "no quorum": (
            proof._replace(checkpoint=(trees[1] / "checkpoint").read_bytes()).raw(),
            leaf,
            POLICY,
        ),
        "forged head": (proof._replace(checkpoint=forged).raw(), leaf, POLICY),
        "other log": (
            proof.raw(),
            leaf,
            POLICY._replace(logs={"x": Verifier(f"{ORIGIN}9", KEY.public)}),
        ),
    }
    for number, (raw, entry, policy) in enumerate(tampered.values()):
        assert not proved(programs, tmp_path / str(number), raw, entry, policy), number


def parse(raw: bytes) -> Checkpoint:
    return note.parse_checkpoint(note.parse_note(raw).text)


# -- the real witness


@pytest.fixture
def witness(programs: Path, tmp_path: Path) -> Iterator[others.LiteWitness]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is missing: apt-get install openssh-client")
    found = others.LiteWitness(programs, tmp_path / "witness", [LOG])
    yield found
    found.close()


def test_litewitness_cosigns_growth_and_refuses_everything_else(witness, trees, tmp_path):
    old, new = trees
    ours = HttpWitness(witness.key, witness.url)
    small, large = head_of(old), head_of(new)
    grown_by = consistency_proof(
        small.size, large.size, Tiles(large.size, FolderTiles(new).read).node
    )
    raw = (old / "checkpoint").read_bytes()
    assert ours.add_checkpoint(0, [], raw).signatures
    raw = (new / "checkpoint").read_bytes()
    answer = ours.add_checkpoint(small.size, grown_by, raw)
    assert witness.key.accepts(large.text(), answer.signatures[0].blob)

    def refused(old_size: int, proof: list[bytes], head: Checkpoint, key: SigningKey = KEY) -> str:
        signed = note.sign_note(head.text(), head.origin, key)
        try:
            again = ours.add_checkpoint(old_size, proof, signed)
        except Detected as said:
            return said.code
        return f"size {again.size}" if not again.signatures else "accepted"

    # Six things that an attacker, or an old backup, would do.
    assert refused(small.size, grown_by, large) == f"size {large.size}"
    assert refused(large.size, [], large._replace(root=bytes(32))) == "WITNESS_REFUSED"
    more = large._replace(size=large.size + 5, root=bytes(range(32)))
    assert refused(large.size, grown_by, more) == "WITNESS_REFUSED"
    assert refused(large.size, [], large, SigningKey(bytes(32))) == "WITNESS_REFUSED"
    stranger = large._replace(origin=f"{ORIGIN}9")
    assert refused(0, [], stranger) == "WITNESS_REFUSED"
    tree = tmp_path / "rewritten"
    shutil.copytree(new, tree)
    rewrite(tree, 7, KEY)
    assert refused(large.size, [], head_of(tree)) == "WITNESS_REFUSED"
