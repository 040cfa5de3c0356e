"""Trees, signatures, heads and policies as an audit pack's verifier reads them: standard library alone."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256, sha512
from typing import NamedTuple


class Refused(Exception):
    """The pack is not what it says: an attack's code, where, why."""

    def __init__(self, code: str, reason: str, where: str = "") -> None:
        super().__init__(f"{code}{' ' + where if where else ''}: {reason}")
        self.code, self.reason, self.where = code, reason, where


def malformed(why: str, where: str = "") -> Refused:
    """Return the finding for bytes that no honest writer makes."""
    return Refused("MALFORMED", why, where)


# -- Merkle trees (RFC 6962; proofs as RFC 9162 verifies them)


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def root_of(row: list[bytes]) -> bytes:
    """Return the root over leaf hashes: pairs level by level, an odd last one carried up."""
    if not row:
        return sha256(b"").digest()
    while len(row) > 1:
        odd = row[-1:] if len(row) & 1 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return row[0]


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a leaf hash stands at an index of the tree with this root."""
    if not 0 <= index < size < 1 << 63:
        return False
    at, last, value = index, size - 1, leaf
    for one in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            value = _node(one, value)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            value = _node(value, one)
        at, last = at >> 1, last >> 1
    return last == 0 and value == root


def extends(old: int, size: int, before: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether the tree of `size` leaves extends the one of `old` leaves."""
    if old == size:
        return not proof and before == root
    if not 0 < old < size < 1 << 63 or not proof:
        return False
    path = [before, *proof] if old & (old - 1) == 0 else list(proof)
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    one = two = path[0]
    for c in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            one, two = _node(c, one), _node(c, two)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            two = _node(two, c)
        at, last = at >> 1, last >> 1
    return last == 0 and one == before and two == root


# -- Ed25519 (RFC 8032), verification alone

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_I = pow(2, (_P - 1) // 4, _P)
_BY = 4 * pow(5, _P - 2, _P) % _P
_Point = tuple[int, int, int, int]


def _root_x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _I % _P
    if y >= _P or (x * x - square) % _P or (x == 0 and sign):
        return None
    return _P - x if x & 1 != sign else x


def _add(one: _Point, two: _Point) -> _Point:
    a, b = (one[1] - one[0]) * (two[1] - two[0]) % _P, (one[1] + one[0]) * (two[1] + two[0]) % _P
    c, d = 2 * one[3] * two[3] * _D % _P, 2 * one[2] * two[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(one: _Point) -> _Point:
    a, b, c = one[0] * one[0] % _P, one[1] * one[1] % _P, 2 * one[2] * one[2] % _P
    h = a + b
    e, g = h - (one[0] + one[1]) * (one[0] + one[1]) % _P, a - b
    f = c + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


_BX = _root_x(_BY, 0)
assert _BX is not None, "the base point is on the curve"
_BASE: _Point = (_BX, _BY, 1, _BX * _BY % _P)
_ZERO: _Point = (0, 1, 1, 0)


def _multiples(point: _Point) -> list[_Point]:
    found = [_ZERO, point]
    while len(found) < 16:
        found.append(_add(found[-1], point))
    return found


_BASES = _multiples(_BASE)


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature over a message is the public key's."""
    if len(public) != 32 or len(signature) != 64:
        return False
    y = int.from_bytes(public, "little")
    y, sign = y & (1 << 255) - 1, y >> 255
    x, s = _root_x(y, sign), int.from_bytes(signature[32:], "little")
    if x is None or s >= _L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % _L
    minus, point = _multiples((_P - x, y, 1, (_P - x) * y % _P)), _ZERO
    for shift in range(252, -1, -4):  # s * base - k * key, four bits of both at a time
        point = _double(_double(_double(_double(point))))
        if at := s >> shift & 15:
            point = _add(point, _BASES[at])
        if at := k >> shift & 15:
            point = _add(point, minus[at])
    inverse = pow(point[2], _P - 2, _P)
    left, up = point[0] * inverse % _P, point[1] * inverse % _P
    return (up | (left & 1) << 255).to_bytes(32, "little") == signature[:32]


# -- signed notes, heads and policies (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy)


def b64(data: bytes) -> str:
    """Return standard base64."""
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Return the bytes of base64 in its one canonical form."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("text that should be base64 is not") from error
    if b64(data) != text:
        raise malformed("base64 is not in its one canonical form")
    return data


class Key(NamedTuple):
    """A public key under its name: of a log (kind 1) or a witness (kind 4)."""

    name: str
    public: bytes
    kind: int

    @property
    def id(self) -> bytes:
        """The four bytes that signature lines name the key by."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]


class Policy(NamedTuple):
    """Whom to trust: keys of logs by origin, witnesses and groups by name, and who is a quorum."""

    logs: dict[str, Key]
    groups: dict[str, tuple[int, list[str]]]
    witnesses: dict[str, Key]
    quorum: str

    def met(self, name: str, seen: set[str]) -> bool:
        """Tell whether those who cosigned are the quorum of this name."""
        if name == "none" or name in seen:
            return True
        needed, members = self.groups.get(name, (1, []))
        return sum(self.met(one, seen) for one in members) >= needed


def read_policy(raw: bytes) -> Policy:
    """Return a policy; raises Refused(MALFORMED)."""
    found = Policy({}, {}, {}, "none")
    try:
        for line in raw.decode().splitlines():
            words = line.partition("#")[0].split() or [""]
            if words[0] in ("log", "witness"):
                name, said, coded = words[1 + (words[0] == "witness")].split("+", 2)
                key = Key(name, unb64(coded)[1:], unb64(coded)[0])
                if key.id.hex() != said or len(key.public) != 32:
                    raise malformed("a key's id is not that of its name and bytes", "policy.txt")
                (found.logs if words[0] == "log" else found.witnesses)[
                    name if words[0] == "log" else words[1]
                ] = key
            elif words[0] == "group":
                needed = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
                known = {**found.witnesses, **found.groups}
                if not 0 < needed <= len(words) - 3 or not known.keys() >= set(words[3:]):
                    raise malformed("a group cannot be met", "policy.txt")
                found.groups[words[1]] = (needed, words[3:])
            elif words[0] == "quorum":
                found = found._replace(quorum=words[1])
    except (ValueError, IndexError) as error:
        raise malformed("the policy cannot be read", "policy.txt") from error
    return found


class Head(NamedTuple):
    """A signed head: whose tree, how many leaves, which root; and when it was cosigned (seconds)."""

    origin: str
    size: int
    root: bytes
    times: tuple[int, ...] = ()


class Notes:
    """Opens signed notes; what was opened once is not verified again."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._heads: dict[bytes, Head] = {}

    def open(self, raw: bytes, log: Key, where: str) -> tuple[str, dict[str, int]]:
        """Return a note's text and cosigners; every line must be a valid one of a key that is trusted."""
        try:
            text, gap, tail = raw.decode().rpartition("\n\n")
        except UnicodeDecodeError as error:
            raise malformed("a note is not UTF-8", where) from error
        lines, text = tail.split("\n"), text + "\n"
        if not gap or lines.pop() or not 0 < len(lines) <= 100:
            raise malformed("a note has no signature", where)
        known = {(k.name, k.id): (n, k) for n, k in [("", log), *self.policy.witnesses.items()]}
        seen: dict[str, int] = {}
        for line in lines:
            dash, name, coded = [*line.split(" "), "", ""][:3]
            blob = unb64(coded)
            who, key = known.get((name, blob[:4]), ("", None))
            if key is None:
                raise Refused(
                    "UNKNOWN_KEY", f"nobody who is trusted is {name!r} of this key", where
                )
            signed, signature = text.encode(), blob[4:]
            if key.kind == 4:
                seen[who] = int.from_bytes(signature[:8], "big")
                signed = f"cosignature/v1\ntime {seen[who]}\n{text}".encode()
                signature = signature[8:]
            else:
                seen[who] = 0
            if dash != "\u2014" or f"\u2014 {name} {coded}" != line:
                raise malformed("a signature line is not as it should be", where)
            if not ed25519(key.public, signed, signature):
                raise Refused("BAD_SIGNATURE", f"the signature of {name} does not hold", where)
        if "" not in seen or len(seen) != len(lines):
            raise Refused(
                "UNKNOWN_KEY", f"{log.name} did not sign it, or somebody did twice", where
            )
        return text, seen

    def head(self, raw: bytes, origin: str, where: str, *, quorum: bool = False) -> Head:
        """Return the head of a log; with `quorum` only if enough witnesses cosigned it."""
        if raw in self._heads and self._heads[raw].origin == origin:
            return self._heads[raw]
        log = self.policy.logs.get(origin)
        if log is None:
            raise Refused("UNKNOWN_KEY", f"no key is trusted for {origin}", where)
        said = raw.decode("utf-8", "replace").split("\n")
        if said[0] != origin:
            raise Refused("WRONG_ORIGIN", f"this is a head of {said[0]!r}, not of {origin}", where)
        text, seen = self.open(raw, log, where)
        size = _number(said[1])
        if text != f"{origin}\n{size}\n{said[2]}\n" or len(unb64(said[2])) != 32:
            raise malformed("a head is not as it should be", where)
        if quorum and not self.policy.met(self.policy.quorum, set(seen)):
            raise Refused("WITNESS_REFUSED", "no quorum of witnesses cosigned the head", where)
        times = tuple(sorted(at for who, at in seen.items() if who))
        found = self._heads[raw] = Head(origin, size, unb64(said[2]), times)
        return found


def _number(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text, re.ASCII):
        raise malformed("a number is not one")
    return int(text)


def hashes(text: str) -> list[bytes]:
    """Return the hashes of a proof, one in each line."""
    found = [unb64(line) for line in text.split("\n")[:-1]]
    if len(found) > 63 or not all(len(h) == 32 for h in found) or (text and text[-1] != "\n"):
        raise malformed("a proof has hashes that no proof has")
    return found


class Proof(NamedTuple):
    """That an entry stands at an index of the tree of a head (C2SP tlog-proof)."""

    at: int
    path: list[bytes]
    checkpoint: bytes


def read_proof(raw: bytes, where: str) -> Proof:
    """Return a proof; raises Refused(MALFORMED)."""
    head, gap, checkpoint = raw.partition(b"\n\n")
    lines = head.decode("utf-8", "replace").split("\n", 2)
    if (
        not gap
        or lines[0] != "c2sp.org/tlog-proof@v1"
        or lines[1:2] == []
        or lines[1][:6] != "index "
    ):
        raise malformed("a proof does not begin as one", where)
    rest = lines[2] + "\n" if len(lines) == 3 else ""
    return Proof(_number(lines[1][6:]), hashes(rest), checkpoint)
