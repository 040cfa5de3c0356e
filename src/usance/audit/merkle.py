"""Merkle trees of RFC 6962 section 2.1: roots, inclusion and consistency proofs.

`leaf = SHA-256(0x00 | entry)`, `node = SHA-256(0x01 | left | right)`; a tree of n > 1 leaves is split at
the largest power of two below n. Nothing is padded and no leaf is taken twice. Both verifiers are
total: whatever is handed to them, they answer True or False. Vectors: tests/audit/test_merkle.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from usance.kernel.native import NATIVE

HASH_BYTES = 32
PROOF_HASHES_MAX = 63
"""Hashes of the longest proof: a tree has fewer than 2^63 leaves."""
SIZE_MAX = 1 << 63
EMPTY_ROOT = sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""(level, index) -> the hash of leaves index*2^level to (index+1)*2^level, all of which exist."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of many leaves."""
    found: list[bytes] | None = NATIVE.leaf_hashes(entries) if NATIVE else None
    return plain_leaf_hashes(entries) if found is None else found


def plain_leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of many leaves: the reference of `leaf_hashes` in native/tree.c."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over nodes of one level, left to right; the last may be of a smaller subtree."""
    found: bytes | None = NATIVE.root_of(hashes) if NATIVE else None
    return plain_root_of(hashes) if found is None else found


def plain_root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over nodes of one level: the reference of `root_of` in native/tree.c.

    Pairs level by level and carries an odd last node up as it is, which is the split at the largest power
    of two below n.
    """
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        odd = row[-1:] if len(row) & 1 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        row += odd
    return row[0]


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return PATH(index, D[size]). Raises ValueError for an index outside the tree."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high, path = 0, size, list[bytes]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(middle, high, node))
            high = middle
        else:
            path.append(_range(low, middle, node))
            low = middle
    return path[::-1]


def consistency_proof(old: int, size: int, node: Node) -> list[bytes]:
    """Return PROOF(old, D[size]): empty for old 0 or `size`. Raises ValueError for old beyond size."""
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves has no earlier state of {old}")
    if old in (0, size):
        return []
    low, high, whole, proof = 0, size, True, list[bytes]()
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(middle, high, node))
            high = middle
        else:
            proof.append(_range(low, middle, node))
            low, whole = middle, False
    if not whole:
        proof.append(_range(low, high, node))
    return proof[::-1]


def prefix_root(size: int, node: Node) -> bytes:
    """Return the root that a tree had when it had `size` leaves, from the nodes of a larger one."""
    return _range(0, size, node) if size else EMPTY_ROOT


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _range(low: int, high: int, node: Node) -> bytes:
    """Return MTH(D[low:high]) of a range that the tree's own splits make."""
    found: list[bytes] = []
    while low < high:
        # `low` is a multiple of the power of two that comes next: earlier ones were larger.
        level = (high - low).bit_length() - 1
        found.append(node(level, low >> level))
        low += 1 << level
    value = found.pop()
    while found:
        value = node_hash(found.pop(), value)
    return value


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Tell whether a leaf hash stands at an index of the tree with this root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size < SIZE_MAX or not _hashes([leaf, root, *proof]):
        return False
    at, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            value = node_hash(sibling, value)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and value == root


def verify_consistency(
    old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the tree of `size` leaves extends the one of `old` (RFC 9162 2.1.4.2)."""
    if not 0 <= old <= size < SIZE_MAX or not _hashes([old_root, root, *proof]):
        return False
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if not proof:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and after == root


def _hashes(found: Sequence[bytes]) -> bool:
    return len(found) <= PROOF_HASHES_MAX + 2 and all(
        isinstance(one, bytes) and len(one) == HASH_BYTES for one in found
    )
