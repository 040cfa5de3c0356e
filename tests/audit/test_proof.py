"""Offline proofs and policies."""

import random

import pytest

from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.leaf import Leaf, kind_of, schema_id_of, unpack
from usance.audit.merkle import inclusion_proof, leaf_hash, leaf_hashes, root_of
from usance.audit.note import Checkpoint, SigningKey
from usance.audit.proof import Policy, Proof, parse_policy, parse_proof, verify_proof

KEY, WITNESS = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
ORIGIN = "bank.example/usance/test/1/trade.events/p000"
LOG = note.Verifier(ORIGIN, KEY.public)
W1 = note.Verifier("witness.example/w1", WITNESS.public, note.COSIGNATURE)
ENTRIES = [b"entry %d" % n for n in range(11)]
LEAVES = leaf_hashes(ENTRIES)
TRUST = Policy({ORIGIN: LOG}, {"w1": W1}, {}, "w1")


def node(level, index):
    return root_of(LEAVES[index << level : (index + 1) << level])


def proof_of(index, cosigned=True):
    text = Checkpoint(ORIGIN, len(LEAVES), root_of(LEAVES)).text()
    raw = note.sign_note(text, ORIGIN, KEY)
    if cosigned:
        raw = note.with_signatures(raw, [note.cosign(text, W1.name, WITNESS, 1)])
    return Proof(index, tuple(inclusion_proof(index, len(LEAVES), node)), raw)


def code_of(raw, entry, policy=TRUST, origin=ORIGIN):
    with pytest.raises(Detected) as found:
        verify_proof(raw, entry, policy, origin)
    return found.value.code


def test_a_proof_shows_its_entry_and_no_other():
    raw = proof_of(7).raw()
    assert parse_proof(raw) == proof_of(7)
    assert verify_proof(raw, ENTRIES[7], TRUST, ORIGIN).size == 11
    assert code_of(raw, ENTRIES[6]) == "PROOF_INVALID"
    assert code_of(proof_of(7)._replace(at=6).raw(), ENTRIES[7]) == "PROOF_INVALID"
    assert proof_of(7)._replace(extra=b"more").raw().startswith(b"c2sp.org/tlog-proof@v1\nextra ")
    verify_proof(proof_of(7)._replace(extra=b"more").raw(), ENTRIES[7], TRUST, ORIGIN)


def test_an_inner_node_shown_as_a_leaf_is_called_that():
    inner = LEAVES[0] + LEAVES[1]
    shortened = proof_of(0)._replace(hashes=proof_of(0).hashes[1:])
    assert code_of(shortened.raw(), inner) == "NODE_AS_LEAF"


def test_the_policy_says_who_must_have_signed():
    assert code_of(proof_of(7, cosigned=False).raw(), ENTRIES[7]) == "WITNESS_REFUSED"
    alone = TRUST._replace(quorum="none")
    verify_proof(proof_of(7, cosigned=False).raw(), ENTRIES[7], alone, ORIGIN)
    other = Policy({ORIGIN: note.Verifier(ORIGIN, WITNESS.public)}, {}, {})
    assert code_of(proof_of(7).raw(), ENTRIES[7], other) == "UNKNOWN_KEY"
    assert code_of(proof_of(7).raw(), ENTRIES[7], Policy({}, {}, {})) == "UNKNOWN_KEY"
    p003 = ORIGIN.replace("p000", "p003")
    moved = Policy({p003: note.Verifier(p003, KEY.public)}, {}, {})
    assert code_of(proof_of(7).raw(), ENTRIES[7], moved, p003) == "WRONG_ORIGIN"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        proof_of(7).raw().replace(b"@v1", b"@v2"),
        proof_of(7).raw().replace(b"index 7", b"index 07"),
        proof_of(7).raw().replace(b"index 7", b"index 9223372036854775808"),
        proof_of(7).raw().replace(b"index 7", b"index -1"),
        proof_of(7).raw().replace(b"index 7\n", b"index 7\n" + b"A" * 43 + b"=\n" * 64),
        proof_of(7)._replace(hashes=(bytes(31),)).raw(),
        proof_of(7)._replace(hashes=(bytes(32),) * 64).raw(),
        proof_of(7).raw().replace(b"\n", b"\r\n"),
        proof_of(7).raw().replace(b"index", b"ind\x00x"),
        b"c2sp.org/tlog-proof@v1\n\n",
    ],
)
def test_hostile_proofs_are_malformed(raw):
    assert code_of(raw, ENTRIES[7]) == "MALFORMED"


def test_no_changed_byte_of_a_proof_is_accepted():
    raw = proof_of(7).raw()
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(Detected):
            verify_proof(changed, ENTRIES[7], TRUST, ORIGIN)


def test_junk_never_crashes_the_parser():
    dice = random.Random(9)
    raw = proof_of(7).raw()
    for _ in range(5_000):
        junk = bytearray(raw)
        for _ in range(dice.randrange(1, 6)):
            junk[dice.randrange(len(junk))] = dice.randrange(256)
        with pytest.raises(Detected):
            verify_proof(bytes(junk[: dice.randrange(len(junk))]), ENTRIES[7], TRUST, ORIGIN)


def test_a_policy_is_read_as_it_is_written():
    text = f"""
    # whom we trust
    log {LOG.vkey} https://log.example/
    witness w1 {W1.vkey} https://w1.example/
    witness w2 {W1._replace(name="witness.example/w2").vkey}
    group outside any w1 w2
    group all all w1 outside
    quorum all
    """
    policy = parse_policy(text)
    assert policy.quorum == "all"
    assert policy.satisfied([W1])
    assert not policy.satisfied([W1._replace(name="witness.example/w2")])
    assert policy.urls == {"w1": "https://w1.example/"}
    assert parse_policy(policy.text()) == policy._replace(urls={})


@pytest.mark.parametrize(
    "text",
    [
        "quorum",
        "quorum w9",
        "log nonsense",
        f"witness w1 {LOG.vkey}",
        f"witness none {W1.vkey}",
        f"witness w1 {W1.vkey}\nwitness w1 {W1.vkey}",
        f"witness w1 {W1.vkey}\ngroup g 2 w1",
        "group g any w1",
        "nonsense here",
    ],
)
def test_a_policy_that_cannot_be_read_names_its_line(text):
    with pytest.raises(Detected) as found:
        parse_policy(text)
    assert found.value.code == "MALFORMED"


def test_the_golden_leaf():
    import hashlib

    leaf = Leaf(7, 4242, 1_767_225_600_000, 1, 1001, hashlib.sha256(b"envelope").digest())
    raw = bytes.fromhex(
        "554c31000000000700000000000010920000019b76daa8000100000003e9"
        "4c503ca67761e5c4aaecfe996244c25d8c0b40902d1085c85b4468bd567548c6"
    )
    assert leaf.pack() == raw
    assert unpack(raw) == leaf
    assert (
        leaf_hash(raw).hex() == "2043db5286ad28c40565e1f3de8abe6339bc8f7c72326412b67b11ef17e44997"
    )
    flagged = raw[:25] + b"\x01" + raw[26:]
    for bad in (raw[:-1], b"UL2\x00" + raw[4:], flagged, raw[:24] + b"\x0a" + raw[25:]):
        with pytest.raises(Detected):
            unpack(bad)


def test_kinds_depend_on_the_topic_alone_but_for_footers():
    assert kind_of("events", b"usance.trade.UnitFooter") == 1
    assert kind_of("outcomes", b"usance.system.Outcome") == 2
    assert kind_of("outcomes", b"usance.system.UnitFooter") == 9
    assert (kind_of("schemas", None), kind_of("dead-letters", None)) == (7, 8)
    assert kind_of("access", None) == 3
    assert schema_id_of(b"\x00\x00\x00\x03\xe9rest") == 1001
    assert [schema_id_of(v) for v in (None, b"", b"\x00\x00", b"\x01\x00\x00\x00\x01")] == [0] * 4
