"""Signed notes, checkpoints and cosignatures of C2SP (signed-note, tlog-checkpoint, tlog-cosignature).

A note is text that ends in a newline, an empty line, and signature lines `— <name> <base64>`. What is
signed is the text with its last newline, without the empty line. A key id is the first four bytes of
SHA-256(name | 0x0A | kind | public key).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from usance.audit.codes import Detected, malformed
from usance.audit.merkle import HASH_BYTES, SIZE_MAX

ED25519 = 0x01
COSIGNATURE = 0x04
"""Kinds of keys: a log's own signature, a witness's cosignature."""
NOTE_BYTES_MAX = 1_000_000
SIGNATURES_MAX = 100
DASH = "\u2014 "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class Signature(NamedTuple):
    """One signature line: the key's name, its id, and what follows the id."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> str:
        """Return the line, with its newline."""
        return f"{DASH}{self.name} {b64(self.key_id + self.blob)}\n"


class Note(NamedTuple):
    """A note as it came: nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def raw(self) -> bytes:
        """Return the note's bytes."""
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode()


class Verifier(NamedTuple):
    """A public key under its name: of a log (kind 1) or a witness (kind 4)."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that signature lines name the key by."""
        return key_id(self.name, self.kind, self.public)

    @property
    def vkey(self) -> str:
        """The key as one line of text."""
        return f"{self.name}+{self.key_id.hex()}+{b64(bytes([self.kind]) + self.public)}"

    def accepts(self, text: str, blob: bytes) -> bool:
        """Tell whether a signature line's content is this key's over a note's text."""
        signed, signature = text.encode(), blob
        if self.kind == COSIGNATURE:
            if len(blob) != 8 + 64:
                return False
            signed, signature = cosigned(text, int.from_bytes(blob[:8], "big")), blob[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


class Opened(NamedTuple):
    """A note whose known signatures hold: its text, and by whom it is signed.

    `times` are the instants (seconds) that cosigners stated, by their names.
    """

    text: str
    signers: tuple[Verifier, ...]
    times: dict[str, int]


class Checkpoint(NamedTuple):
    """A tree's head: whose, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


def b64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Return the bytes of standard, padded, canonical base64; raises Detected(MALFORMED)."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("text that should be base64 is not") from error
    if b64(data) != text:
        raise malformed("base64 is not in its one canonical form")
    return data


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """Return the id of a key."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def cosigned(text: str, seconds: int) -> bytes:
    """Return what a witness signs for a checkpoint's text at an instant (Unix seconds)."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def demand_name(name: str) -> str:
    """Return a key's name; raises Detected(MALFORMED) for one that a note cannot carry."""
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise malformed("a key's name is empty, or has a space or a plus in it")
    return name


def parse_vkey(text: str) -> Verifier:
    """Return the key that a vkey line says; raises Detected(MALFORMED)."""
    name, _, rest = text.strip().partition("+")
    said, _, coded = rest.partition("+")
    key = unb64(coded)
    if len(key) != 1 + 32 or key[0] not in (ED25519, COSIGNATURE):
        raise malformed("a key is neither Ed25519 nor an Ed25519 cosigner's")
    found = Verifier(demand_name(name), key[1:], key[0])
    if found.key_id.hex() != said:
        raise malformed("a key's id is not that of its name and bytes")
    return found


def parse_note(raw: bytes) -> Note:
    """Return a note; raises Detected(MALFORMED) for bytes that are none."""
    if len(raw) > NOTE_BYTES_MAX:
        raise malformed("a note is too long")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed("a note is not UTF-8") from error
    if any((c < " " and c != "\n") or c == "\x7f" for c in whole):
        raise malformed("a note holds a control character")
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise malformed("a note has no signature")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise malformed("a note has too many signatures")
    return Note(text + "\n", tuple(parse_signature(line) for line in lines))


def parse_signature(line: str) -> Signature:
    """Return one signature line, without its newline; raises Detected(MALFORMED)."""
    if not line.startswith(DASH):
        raise malformed("a signature line begins with something else than an em dash")
    name, gap, coded = line[len(DASH) :].partition(" ")
    blob = unb64(coded)
    if not gap or len(blob) < 5:
        raise malformed("a signature line has no key id and signature")
    return Signature(demand_name(name), blob[:4], blob[4:])


def open_note(raw: bytes, verifiers: Iterable[Verifier]) -> Opened:
    """Return a note that at least one known key signed.

    Raises Detected: BAD_SIGNATURE where a known key's signature does not hold, UNKNOWN_KEY where no known
    key signed, MALFORMED.
    """
    note = parse_note(raw)
    known = {(v.name, v.key_id): v for v in verifiers}
    signers: dict[Verifier, None] = {}
    times: dict[str, int] = {}
    for name, named, blob in note.signatures:
        verifier = known.get((name, named))
        if verifier is None or verifier in signers:
            continue
        if not verifier.accepts(note.text, blob):
            raise Detected("BAD_SIGNATURE", f"the signature of {name} does not hold")
        signers[verifier] = None
        if verifier.kind == COSIGNATURE:
            times[name] = int.from_bytes(blob[:8], "big")
    if not signers:
        names = ", ".join(s.name for s in note.signatures)
        raise Detected(
            "UNKNOWN_KEY",
            f"no key that is trusted here signed this note; it names {names}",
            hint="Compare the key with the one you were given by another way.",
        )
    return Opened(note.text, tuple(signers), times)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the head that a note's text states; raises Detected(MALFORMED). Extensions are not read."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not lines[0]:
        raise malformed("a checkpoint has fewer than three lines")
    if not _NUMBER.fullmatch(lines[1]) or int(lines[1]) >= SIZE_MAX:
        raise malformed("a checkpoint's size is not a number")
    root = unb64(lines[2])
    if len(root) != HASH_BYTES:
        raise malformed("a checkpoint's root has not 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def open_checkpoint(raw: bytes, log: Verifier, others: Sequence[Verifier] = ()) -> Checkpoint:
    """Return a head that its log's key signed.

    Raises Detected: WRONG_ORIGIN where it is another log's, else as `open_note` does.
    """
    note = parse_note(raw)
    head = parse_checkpoint(note.text)
    if head.origin != log.name:
        raise Detected("WRONG_ORIGIN", f"this is a head of {head.origin}, not of {log.name}")
    opened = open_note(raw, [log, *others])
    if log not in opened.signers:
        raise Detected("UNKNOWN_KEY", f"the key of {log.name} did not sign its head")
    return head


class SigningKey:
    """An Ed25519 key in this process; one key signs for many names (a log's origin is one)."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature."""
        return self._key.sign(message)

    def close(self) -> None:
        """Release what is held: nothing."""


def sign_note(text: str, name: str, key: SigningKey) -> bytes:
    """Return a note that a log's key signed under a name."""
    line = Signature(name, key_id(name, ED25519, key.public), key.sign(text.encode()))
    return Note(text, (line,)).raw()


def cosign(text: str, name: str, key: SigningKey, seconds: int) -> Signature:
    """Return a witness's cosignature of a checkpoint's text at an instant (Unix seconds)."""
    blob = seconds.to_bytes(8, "big") + key.sign(cosigned(text, seconds))
    return Signature(name, key_id(name, COSIGNATURE, key.public), blob)


def with_signatures(raw: bytes, more: Iterable[Signature]) -> bytes:
    """Return a note with further signatures, one per key."""
    note = parse_note(raw)
    found = {(s.name, s.key_id): s for s in (*note.signatures, *more)}
    return Note(note.text, tuple(found.values())).raw()
