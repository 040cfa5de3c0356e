"""A second implementation of opening sealed blocks, made from the format's description alone.

It shares no code with `usance.crypto`: other cipher library (pycryptodome), its own HKDF from hashlib, and
GCM-SIV (RFC 8452) on plain AES with POLYVAL by the book.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator

from Crypto.Cipher import AES, ChaCha20_Poly1305

OVER_X = (1 << 127) | (1 << 126) | (1 << 125) | (1 << 120)


class Refused(Exception):
    pass


def expand(key: bytes, label: bytes) -> bytes:
    prk = hmac.new(b"\x00" * 32, key, hashlib.sha256).digest()
    return hmac.new(prk, label + b"\x01", hashlib.sha256).digest()


def aad_of(facts: dict[str, object], head: bytes) -> bytes:
    parts = (
        b"usance.seal.1",
        str(facts["tenant"]).encode(),
        str(facts["stream"]).encode(),
        struct.pack(">Q", facts["revision"]),
        str(facts["record_id"]).encode(),
        str(facts["fullname"]).encode(),
        str(facts["block"]).encode(),
        bytes.fromhex(str(facts["schema"])),
    )
    return b"".join(struct.pack(">H", len(part)) + part for part in parts) + head


def open_block(sealed: bytes, key: bytes, facts: dict[str, object]) -> bytes:
    head, nonce, commit = sealed[:18], sealed[18:30], sealed[30:46]
    body, tag = sealed[46:-16], sealed[-16:]
    if len(sealed) < 62 or head[0] != 1:
        raise Refused("form")
    right = hmac.new(expand(key, b"usance/seal/v1/commit"), head[1:], hashlib.sha256).digest()[:16]
    if not hmac.compare_digest(right, commit):
        raise Refused("commitment")
    secret, aad = expand(key, b"usance/seal/v1/enc"), aad_of(facts, head)
    try:
        if head[1] == 1:
            gcm = AES.new(secret, AES.MODE_GCM, nonce=nonce)
            return gcm.update(aad).decrypt_and_verify(body, tag)
        if head[1] == 2:
            return gcm_siv_open(secret, nonce, aad, body, tag)
        chacha = ChaCha20_Poly1305.new(key=secret, nonce=nonce)
        chacha.update(aad)
        return chacha.decrypt_and_verify(body, tag)
    except ValueError as error:
        raise Refused("tag") from error


def times_x_inverse(a: int) -> int:
    return (a >> 1) ^ OVER_X if a & 1 else a >> 1


def dot(a: int, b: int) -> int:
    """The product over x^128, in the field of POLYVAL."""
    result = 0
    for bit in range(128):
        if b >> bit & 1:
            result ^= a
        result = times_x_inverse(result)
    return result


def table_of(h: int) -> list[list[int]]:
    """Products of h with each byte at each place: sixteen look-ups replace a multiplication."""
    powers = [dot(h, 1 << bit) for bit in range(128)]
    table = []
    for place in range(16):
        row = [0] * 256
        for value in range(256):
            for bit in range(8):
                if value >> bit & 1:
                    row[value] ^= powers[place * 8 + bit]
        table.append(row)
    return table


def polyval(h: int, data: bytes) -> int:
    table, total = table_of(h), 0
    for at in range(0, len(data), 16):
        block = (total ^ int.from_bytes(data[at : at + 16], "little")).to_bytes(16, "little")
        total = 0
        for place, value in enumerate(block):
            total ^= table[place][value]
    return total


def padded(data: bytes) -> bytes:
    return data + b"\x00" * (-len(data) % 16)


def counter_blocks(tag: bytes, count: int) -> Iterator[bytes]:
    first = bytearray(tag)
    first[15] |= 0x80
    start = int.from_bytes(first[:4], "little")
    for n in range(count):
        yield ((start + n) & 0xFFFFFFFF).to_bytes(4, "little") + bytes(first[4:])


def gcm_siv_open(key: bytes, nonce: bytes, aad: bytes, body: bytes, tag: bytes) -> bytes:
    root = AES.new(key, AES.MODE_ECB)
    made = b"".join(root.encrypt(struct.pack("<I", n) + nonce)[:8] for n in range(6))
    auth, cipher = int.from_bytes(made[:16], "little"), AES.new(made[16:], AES.MODE_ECB)
    stream = cipher.encrypt(b"".join(counter_blocks(tag, -(-len(body) // 16)))) if body else b""
    plain = bytes(a ^ b for a, b in zip(body, stream, strict=False))
    lengths = struct.pack("<QQ", len(aad) * 8, len(plain) * 8)
    summed = polyval(auth, padded(aad) + padded(plain) + lengths).to_bytes(16, "little")
    mixed = bytearray(summed)
    for n, value in enumerate(nonce):
        mixed[n] ^= value
    mixed[15] &= 0x7F
    if not hmac.compare_digest(cipher.encrypt(bytes(mixed)), tag):
        raise ValueError("tag")
    return plain
