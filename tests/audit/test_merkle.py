"""Merkle trees against the CT reference vectors, exhaustively to 70 leaves, and against hostile proofs.

Provenance of the vectors: the reference inputs of the Certificate Transparency test suite
(`d0`..`d7`), whose roots and proofs are published with RFC 6962 implementations.
"""

import random

import pytest

from usance.audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

D = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = leaf_hashes(D)
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
LEAF = {
    1: "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    2: "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    3: "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    4: "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    5: "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    6: "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    7: "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
}
A = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
B = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
C = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
E = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
F = "837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e"
INCLUSION = {
    (5, 8): (LEAF[4], C, ROOTS[4]),
    (0, 8): (LEAF[1], A, B),
    (2, 3): (ROOTS[2],),
    (1, 5): (ROOTS[1], A, LEAF[4]),
}
CONSISTENCY = {
    (6, 8): (E, C, ROOTS[4]),
    (2, 5): (A, LEAF[4]),
    (3, 7): (LEAF[2], LEAF[3], ROOTS[2], F),
    (4, 8): (B,),
}
FUZZED = 100_000


def node_of(leaves):
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


def test_leaves_and_roots_are_those_of_the_reference():
    assert {n: leaf_hash(D[n]).hex() for n in LEAF} == LEAF
    assert {n: root_of(LEAVES[:n]).hex() for n in ROOTS} == ROOTS


@pytest.mark.parametrize("at", INCLUSION, ids=str)
def test_inclusion_proofs_are_those_of_the_reference(at):
    proof = inclusion_proof(*at, node_of(LEAVES))
    assert tuple(p.hex() for p in proof) == INCLUSION[at]
    assert verify_inclusion(LEAVES[at[0]], *at, proof, root_of(LEAVES[: at[1]]))


@pytest.mark.parametrize("at", CONSISTENCY, ids=str)
def test_consistency_proofs_are_those_of_the_reference(at):
    proof = consistency_proof(*at, node_of(LEAVES))
    assert tuple(p.hex() for p in proof) == CONSISTENCY[at]
    assert verify_consistency(*at, root_of(LEAVES[: at[0]]), root_of(LEAVES[: at[1]]), proof)


def all_proofs(most):
    leaves = leaf_hashes([bytes([n]) for n in range(most)])
    roots = [root_of(leaves[:n]) for n in range(most + 1)]
    node = node_of(leaves)
    for n in range(1, most + 1):
        for m in range(n):
            yield True, (m, n, leaves[m], roots[n]), inclusion_proof(m, n, node)
            yield False, (m, n, roots[m], roots[n]), consistency_proof(m, n, node)


def holds(inclusion, at, proof):
    m, n, first, root = at
    if inclusion:
        return verify_inclusion(first, m, n, proof, root)
    return verify_consistency(m, n, first, root, proof)


def test_every_proof_up_to_70_leaves_holds_and_no_changed_one_does():
    seen = 0
    for inclusion, at, proof in all_proofs(70):
        assert holds(inclusion, at, proof), at
        seen += 1
        flipped = [bytes([p[0] ^ 1]) + p[1:] for p in proof]
        changed = [proof[1:], proof[:-1], [*proof, at[3]], proof[::-1]] + [
            [*proof[:i], flipped[i], *proof[i + 1 :]] for i in range(len(proof))
        ]
        for other in changed:
            assert other == proof or not holds(inclusion, at, other), at
    assert seen == 4_970


def test_a_proof_holds_for_its_own_place_size_and_root_alone():
    for inclusion, (m, n, first, root), proof in all_proofs(20):
        if inclusion:
            assert not any(holds(True, (k, n, first, root), proof) for k in range(n) if k != m)
        assert m == 0 or not holds(inclusion, (m, n, root, first), proof) or first == root


def test_a_hundred_thousand_hostile_proofs_are_answered_without_a_crash():
    dice = random.Random(6962)
    good = list(all_proofs(40))
    junk = [b"", bytes(31), bytes(32), bytes(33), None, "text", 7]
    for _ in range(FUZZED):
        inclusion, at, whole = good[dice.randrange(len(good))]
        (m, n, first, root), proof = at, whole
        kind = dice.randrange(6)
        if kind == 0:
            proof = [*proof, *[dice.randbytes(32)] * dice.randrange(1, 80)]
        elif kind == 1:
            proof = [dice.choice(junk), *proof]
        elif kind == 2:
            m = dice.choice([-1, n, n + 1, 2**63, 2**70, m + 1])
        elif kind == 3:
            n = dice.choice([-1, 0, m, 2**62, 2**63, n + 1])
        elif kind == 4:
            first = dice.choice([*junk, dice.randbytes(32)])
        else:
            root = dice.choice([*junk, dice.randbytes(32)])
        changed = (m, n, first, root) != at or proof != whole
        if holds(inclusion, (m, n, first, root), proof) and changed:
            # Size and root come together, signed: a path may have the same shape in another size.
            assert kind == 3 or (not inclusion and m == 0)


def test_an_empty_tree_has_the_root_of_nothing_and_precedes_every_tree():
    assert root_of([]) == EMPTY_ROOT
    assert verify_consistency(0, 3, EMPTY_ROOT, root_of(LEAVES[:3]), [])
    assert not verify_consistency(0, 3, bytes(32), root_of(LEAVES[:3]), [])


def test_an_inner_node_is_no_leaf():
    inner = LEAVES[0] + LEAVES[1]
    assert node_hash(LEAVES[0], LEAVES[1]) != leaf_hash(inner)
    root = root_of(LEAVES[:4])
    proof = inclusion_proof(0, 4, node_of(LEAVES))[1:]
    assert not verify_inclusion(leaf_hash(inner), 0, 2, proof, root)
