"""Offline proofs (C2SP tlog-proof) and the policy by which they are judged (tlog-policy)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from usance.audit.codes import Detected, malformed
from usance.audit.merkle import (
    HASH_BYTES,
    PROOF_HASHES_MAX,
    SIZE_MAX,
    leaf_hash,
    node_hash,
    verify_inclusion,
)
from usance.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Verifier,
    b64,
    open_checkpoint,
    open_note,
    parse_vkey,
    unb64,
)

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
PROOF_BYTES_MAX = 1_000_000
POLICY_LINES_MAX = 1_000
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


class Proof(NamedTuple):
    """That an entry stands at index `at` of the tree of a signed head; `extra` is not authenticated."""

    at: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def raw(self) -> bytes:
        """Return the file's bytes."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {b64(self.extra)}")
        lines.append(f"index {self.at}")
        lines += [b64(h) for h in self.hashes]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint


class Group(NamedTuple):
    """So many of these members must have cosigned; a member is a witness or another group."""

    needed: int
    members: tuple[str, ...]


class Policy(NamedTuple):
    """Whom a verifier trusts: logs by origin, witnesses by their names here, and what is a quorum."""

    logs: dict[str, Verifier]
    witnesses: dict[str, Verifier]
    groups: dict[str, Group]
    quorum: str = "none"
    urls: dict[str, str] | None = None
    """Where witnesses are, by their names here; read, never written."""

    def log(self, origin: str) -> Verifier:
        """Return the key of a log; raises Detected(UNKNOWN_KEY) where none is trusted for it."""
        found = self.logs.get(origin)
        if found is None:
            raise Detected(
                "UNKNOWN_KEY",
                f"no key is trusted for {origin}",
                hint="Add its key to the policy, if you got it by another way than the log itself.",
            )
        return found

    def satisfied(self, cosigners: Sequence[Verifier]) -> bool:
        """Tell whether these cosigners make the quorum."""
        return self.quorum == "none" or self._holds(self.quorum, set(cosigners))

    def _holds(self, name: str, cosigners: set[Verifier]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return self.witnesses.get(name) in cosigners
        return sum(self._holds(member, cosigners) for member in group.members) >= group.needed

    def alone(self, origin: str, *, witnessed: bool) -> Policy:
        """Return the policy for one log: some verifiers demand that every log named has signed."""
        if witnessed:
            return self._replace(logs={origin: self.log(origin)})
        return Policy({origin: self.log(origin)}, {}, {})

    def text(self) -> str:
        """Return the policy as a file."""
        lines = [f"log {v.vkey}" for v in self.logs.values()]
        lines += [f"witness {name} {v.vkey}" for name, v in self.witnesses.items()]
        for name, group in self.groups.items():
            lines.append(f"group {name} {group.needed} {' '.join(group.members)}")
        return "\n".join([*lines, f"quorum {self.quorum}"]) + "\n"


def parse_proof(raw: bytes) -> Proof:
    """Return a proof; raises Detected(MALFORMED) for bytes that are none."""
    if len(raw) > PROOF_BYTES_MAX:
        raise malformed("a proof is too long")
    head, gap, checkpoint = raw.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise malformed("a proof is not ASCII before its checkpoint") from error
    if not gap or lines[0] != HEADER:
        raise malformed("a proof does not begin as one")
    rest, extra = lines[1:], b""
    if rest and rest[0].startswith("extra "):
        extra, rest = unb64(rest[0][6:]), rest[1:]
    found = _INDEX.fullmatch(rest[0]) if rest else None
    if found is None or int(found[1]) >= SIZE_MAX:
        raise malformed("a proof has no index")
    if len(rest) - 1 > PROOF_HASHES_MAX:
        raise malformed("a proof has more hashes than any tree needs")
    hashes = tuple(unb64(line) for line in rest[1:])
    if any(len(h) != HASH_BYTES for h in hashes):
        raise malformed("a hash of a proof has not 32 bytes")
    return Proof(int(found[1]), hashes, checkpoint, extra)


def verify_proof(raw: bytes, entry: bytes, policy: Policy, origin: str) -> Checkpoint:
    """Return the head under which a proof shows an entry in a log.

    Raises Detected: PROOF_INVALID, NODE_AS_LEAF (the entry is an inner node), WITNESS_REFUSED (no quorum),
    MALFORMED, and what the head's signature raises.
    """
    proof = parse_proof(raw)
    head = open_checkpoint(proof.checkpoint, policy.log(origin), tuple(policy.witnesses.values()))
    demand_quorum(proof.checkpoint, policy, origin)
    demand_inclusion(entry, proof.at, head, proof.hashes)
    return head


def demand_quorum(checkpoint: bytes, policy: Policy, origin: str) -> dict[str, int]:
    """Return the instants (seconds) of a head's cosigners; raises Detected without a quorum of them."""
    opened = open_note(checkpoint, [policy.log(origin), *policy.witnesses.values()])
    cosigners = [v for v in opened.signers if v.kind == COSIGNATURE]
    if not policy.satisfied(cosigners):
        raise Detected(
            "WITNESS_REFUSED",
            f"only {len(cosigners)} of the witnesses that the policy asks for cosigned {origin}",
            hint="Ask the witnesses which head they saw last.",
        )
    return opened.times


def demand_inclusion(entry: bytes, index: int, head: Checkpoint, hashes: Sequence[bytes]) -> None:
    """Raise Detected where an entry is not shown to stand at an index of a tree."""
    if verify_inclusion(leaf_hash(entry), index, head.size, hashes, head.root):
        return
    if len(entry) == 2 * HASH_BYTES and _is_node(entry, index, head, hashes):
        raise Detected("NODE_AS_LEAF", "an inner node of the tree is shown as if it were a leaf")
    raise Detected(
        "PROOF_INVALID",
        f"the proof does not show this entry at index {index} of {head.origin}",
        where=f"{head.origin}#{index}",
    )


def _is_node(entry: bytes, index: int, head: Checkpoint, hashes: Sequence[bytes]) -> bool:
    """Tell whether the path begins at an inner node: at some level its hash leads to the root."""
    inner = node_hash(entry[:HASH_BYTES], entry[HASH_BYTES:])
    size = head.size
    for _ in range(PROOF_HASHES_MAX):
        if verify_inclusion(inner, index, size, hashes, head.root):
            return True
        size = (size + 1) // 2
        if size <= index:
            return False
    return False


def parse_policy(text: str) -> Policy:
    """Return a policy; raises Detected(MALFORMED) naming the line that is wrong."""
    found = Policy({}, {}, {}, urls={})
    quorum = "none"
    lines = text.splitlines()
    if len(lines) > POLICY_LINES_MAX:
        raise malformed("a policy is too long")
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "quorum":
                quorum = words[1]
            else:
                _put(found, words)
        except (IndexError, ValueError, Detected) as error:
            raise malformed(f"line {number} of the policy cannot be read") from error
    if quorum != "none" and quorum not in found.witnesses and quorum not in found.groups:
        raise malformed(f"the policy's quorum {quorum} is neither witness nor group")
    return found._replace(quorum=quorum)


def _put(policy: Policy, words: list[str]) -> None:
    known = {*policy.witnesses, *policy.groups}
    if words[0] == "log":
        key = parse_vkey(words[1])
        policy.logs[key.name] = key
        return
    name = words[1]
    if name in known or name == "none":
        raise ValueError("named twice")
    if words[0] == "witness":
        key = parse_vkey(words[2])
        if key.kind != COSIGNATURE:
            raise ValueError("not a witness's key")
        policy.witnesses[name] = key
        if len(words) > 3 and policy.urls is not None:
            policy.urls[name] = words[3]
        return
    members = tuple(words[3:])
    if words[0] != "group" or not members or not known.issuperset(members):
        raise ValueError("not known")
    needed = {"any": 1, "all": len(members)}.get(words[2]) or int(words[2])
    if not 0 < needed <= len(members):
        raise ValueError("cannot be met")
    policy.groups[name] = Group(needed, members)
