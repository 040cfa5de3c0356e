"""What `verify.py` computes by itself is what others compute: Ed25519, trees, notes, policies."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from usance.audit import merkle, pack_proofs
from usance.audit.merkle import consistency_proof, inclusion_proof
from usance.audit.note import (
    Checkpoint,
    SigningKey,
    Verifier,
    b64,
    cosign,
    sign_note,
    with_signatures,
)
from usance.audit.pack_proofs import (
    Key,
    Notes,
    Policy,
    Refused,
    ed25519,
    hashes,
    read_policy,
    read_proof,
)
from usance.audit.proof import Proof

RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
"""RFC 8032 section 7.1, tests 1, 2, 3 and SHA(abc): public key, message, signature."""

KEY, WITNESS = SigningKey(bytes(range(32))), SigningKey(bytes(32))
ORIGIN = "bank.example/usance/test/g/heads"


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_signatures_of_rfc_8032_hold_and_no_bit_of_them_may_change(
    public: str, message: str, signature: str
) -> None:
    key, text, blob = (bytes.fromhex(one) for one in (public, message, signature))
    assert ed25519(key, text, blob)
    assert not ed25519(key, text + b"x", blob)
    for bit in range(0, 512, 3):
        other = bytearray(blob)
        other[bit // 8] ^= 1 << bit % 8
        assert not ed25519(key, text, bytes(other)), bit


def test_signatures_are_judged_as_the_library_judges_them() -> None:
    rng = random.Random(3)
    for _ in range(40):
        private = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public, message = private.public_key().public_bytes_raw(), rng.randbytes(rng.randrange(99))
        signature = private.sign(message)
        assert ed25519(public, message, signature)
        assert not ed25519(rng.randbytes(32), message, signature)


def test_what_is_no_signature_is_refused_and_never_an_error() -> None:
    rng = random.Random(4)
    public, _, signature = (bytes.fromhex(one) for one in RFC_8032[0])
    order = 2**252 + 27742317777372353535851937790883648493
    again = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not ed25519(public, b"", signature[:32] + again), "a second form of one signature"
    assert not ed25519(b"\xff" * 32, b"", signature), "a point outside the field"
    for size in (0, 31, 32, 33, 63, 64, 65):
        assert not ed25519(rng.randbytes(size), b"", signature)
        assert not ed25519(public, b"", rng.randbytes(size))


def test_trees_are_those_of_the_program_for_every_size_up_to_forty() -> None:
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(40)]
    for size in range(1, 41):
        row = leaves[:size]
        root = merkle.root_of(row)

        def node(level: int, at: int, row: list[bytes] = row) -> bytes:
            return merkle.root_of(row[at << level : (at + 1) << level])

        assert pack_proofs.root_of(list(row)) == root
        for at in range(size):
            path = inclusion_proof(at, size, node)
            assert pack_proofs.included(row[at], at, size, path, root)
            assert not pack_proofs.included(row[at], at, size, [*path, root], root)
            assert not pack_proofs.included(row[at], at + 1, size, path, root)
        for old in range(1, size + 1):
            path, before = consistency_proof(old, size, node), merkle.root_of(row[:old])
            assert pack_proofs.extends(old, size, before, root, path)
            assert not pack_proofs.extends(
                old, size, root if old < size else before[::-1], root, path
            )


def policy(quorum: str = "w") -> Policy:
    """Return whom the tests trust."""
    log, own = Verifier(ORIGIN, KEY.public), Verifier("w.example", WITNESS.public, 4)
    return read_policy(f"log {log.vkey}\nwitness w {own.vkey}\nquorum {quorum}\n".encode())


def head(size: int = 7, origin: str = ORIGIN) -> bytes:
    return sign_note(Checkpoint(origin, size, bytes(32)).text(), origin, KEY)


def witnessed(raw: bytes) -> bytes:
    text = Checkpoint(ORIGIN, 7, bytes(32)).text()
    return with_signatures(raw, [cosign(text, "w.example", WITNESS, 1_795_860_000)])


def code(raw: bytes, origin: str = ORIGIN, **more: bool) -> str:
    """Return with which code a head is refused, empty where it is taken."""
    try:
        Notes(policy()).head(raw, origin, "here", **more)
    except Refused as refused:
        return refused.code
    return ""


def test_a_head_is_taken_with_its_signatures_and_the_times_of_its_witnesses() -> None:
    found = Notes(policy()).head(witnessed(head()), ORIGIN, "here", quorum=True)
    assert (found.origin, found.size, found.times) == (ORIGIN, 7, (1_795_860_000,))


def test_a_head_of_others_or_without_witnesses_is_refused_by_name() -> None:
    assert code(head(), quorum=True) == "WITNESS_REFUSED"
    assert code(head(origin=ORIGIN + "x")) == "WRONG_ORIGIN"
    assert code(head(), origin="other.example") == "UNKNOWN_KEY"
    stranger = sign_note(Checkpoint(ORIGIN, 7, bytes(32)).text(), ORIGIN, WITNESS)
    assert code(stranger) == "UNKNOWN_KEY"
    assert code(head().replace(b"\n7\n", b"\n8\n")) == "BAD_SIGNATURE"


def test_no_bit_of_a_head_may_change() -> None:
    raw = witnessed(head())
    for bit in range(len(raw) * 8):
        other = bytearray(raw)
        other[bit // 8] ^= 1 << bit % 8
        assert code(bytes(other), quorum=True), bit


def test_a_quorum_is_met_by_groups_of_groups() -> None:
    keys = [Verifier(f"w{n}.example", SigningKey(bytes([n] * 32)).public, 4) for n in range(3)]
    text = "".join(f"witness w{n} {key.vkey}\n" for n, key in enumerate(keys))
    text += "group two 2 w0 w1 w2\ngroup all all two w0\ngroup one any w1 w2\nquorum all\n"
    found = read_policy(text.encode())
    assert found.met("all", {"w0", "w2"}) and found.met("one", {"w1"})
    assert not found.met("all", {"w1", "w2"}) and not found.met("two", {"w0"})


@pytest.mark.parametrize(
    "text", [b"log x", b"log a+00000000+AQ==", b"group g 3 a", b"quorum", b"\xff", b"witness w"]
)
def test_a_policy_that_cannot_be_read_is_refused(text: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_policy(text)
    assert refused.value.code == "MALFORMED"


def test_proofs_are_read_as_they_are_written_and_hostile_ones_are_refused() -> None:
    raw = Proof(3, (bytes(32), bytes(range(32))), b"o\n5\nx\n").raw()
    found = read_proof(raw, "here")
    assert (found.at, found.path, found.checkpoint) == (
        3,
        [bytes(32), bytes(range(32))],
        b"o\n5\nx\n",
    )
    long = "".join(b64(bytes(32)) + "\n" for _ in range(64))
    for text in (long, b64(bytes(31)) + "\n", b64(bytes(32)), "x\n", "\n"):
        with pytest.raises(Refused):
            hashes(text)
    rng = random.Random(5)
    for _ in range(3_000):
        other = bytearray(raw)
        for _ in range(rng.randrange(1, 4)):
            other[rng.randrange(len(other))] = rng.randrange(256)
        try:
            read_proof(bytes(other), "here")
        except Refused as refused:
            assert refused.code == "MALFORMED"


def test_key_ids_are_those_of_the_specification() -> None:
    text = b"log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n"
    key = read_policy(text).logs["example.com/foo"]
    assert isinstance(key, Key) and key.id.hex() == "530d903a"
    note = (
        "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfX"
        "ppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    opened, _ = Notes(read_policy(text)).open(note.encode(), key, "here")
    assert opened == "This is an example message.\n"
