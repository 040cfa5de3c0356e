"""The ciphers that we build on, against what NIST, the IETF and Wycheproof publish.

NIST's and the IETF's files come with the package cryptography_vectors; Wycheproof's facts are cut to our key
sizes by tools/wycheproof_facts.py.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import (
    AESGCM,
    AESGCMSIV,
    AESSIV,
    ChaCha20Poly1305,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from usance.crypto import sealed_ring, sealing
from usance.crypto.secret import Secret

WYCHEPROOF = Path(__file__).parent / "vectors" / "wycheproof.json.gz"


def published(path: str) -> Iterator[dict[str, str]]:
    """Yield the cases of a response file: the parameters in force, the fields, and FAIL."""
    scope: dict[str, str] = {}
    case: dict[str, str] = {}
    with cryptography_vectors.open_vector_file(path, "r") as lines:
        for text in map(str.strip, lines):
            if found := re.fullmatch(r"\[(.+?) = (.+)\]", text):
                scope[found[1].upper()] = found[2]
            elif found := re.match(r"(\w+)\s*=\s*(.*)", text):
                if found[1].upper() == "COUNT":
                    if case:
                        yield case
                    case = dict(scope)
                case[found[1].upper()] = found[2].strip()
            elif text == "FAIL":
                case["FAIL"] = "yes"
    yield case


def raw(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case.get(name, ""))


@cache
def facts(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gzip.decompress(WYCHEPROOF.read_bytes()))["files"][
        name
    ]
    return found


def compiled_gcm(key: bytes) -> Any:
    return sealing.COMPILED(key, bytes(18), bytes(16), bytes(16))


COMPILED = [
    pytest.mark.native,
    pytest.mark.skipif(sealing.COMPILED is None, reason="no libcrypto beside the extension"),
]
GCM = [AESGCM, pytest.param(compiled_gcm, marks=COMPILED)]
"""The ciphers that seal: that of `cryptography`, and the compiled one, which takes keys of 256 bits alone."""


@pytest.mark.parametrize("gcm", GCM)
def test_gcm_opens_and_refuses_what_nist_says(gcm: Any) -> None:
    seen: Counter[str] = Counter()
    for case in published("ciphers/AES/GCM/gcmDecrypt256.rsp"):
        if (case["IVLEN"], case["TAGLEN"]) != ("96", "128"):
            continue  # we use no other
        cipher, nonce = gcm(raw(case, "KEY")), raw(case, "IV")
        sealed = raw(case, "CT") + raw(case, "TAG")
        if "FAIL" in case:
            with pytest.raises(InvalidTag):
                cipher.decrypt(nonce, sealed, raw(case, "AAD"))
            seen["refused"] += 1
        else:
            assert cipher.decrypt(nonce, sealed, raw(case, "AAD")) == raw(case, "PT")
            seen["opened"] += 1
    assert seen["opened"] > 150
    assert seen["refused"] > 150


@pytest.mark.parametrize("gcm", GCM)
def test_gcm_seals_to_the_bytes_that_nist_says(gcm: Any) -> None:
    seen = 0
    for case in published("ciphers/AES/GCM/gcmEncryptExtIV256.rsp"):
        if (case["IVLEN"], case["TAGLEN"]) == ("96", "128"):
            sealed = gcm(raw(case, "KEY")).encrypt(
                raw(case, "IV"), raw(case, "PT"), raw(case, "AAD")
            )
            assert sealed == raw(case, "CT") + raw(case, "TAG")
            seen += 1
    assert seen == 375


@pytest.mark.parametrize("way", ["AD", "AE"])
def test_key_wrap_is_that_of_sp_800_38f(way: str) -> None:
    seen: Counter[str] = Counter()
    for case in published(f"keywrap/kwtestvectors/KW_{way}_256.txt"):
        key, wrapped = raw(case, "K"), raw(case, "C")
        if "FAIL" in case:
            with pytest.raises(InvalidUnwrap):
                aes_key_unwrap(key, wrapped)
            seen["refused"] += 1
            continue
        assert aes_key_unwrap(key, wrapped) == raw(case, "P")
        assert aes_key_wrap(key, raw(case, "P")) == wrapped
        seen["opened"] += 1
    assert seen["opened"] >= 400
    assert way == "AE" or seen["refused"] >= 90


def test_hkdf_is_that_of_rfc_5869() -> None:
    seen = 0
    for case in published("KDF/rfc-5869-HKDF-SHA256.txt"):
        if "OKM" in case:
            made = HKDF(SHA256(), int(case["L"]), raw(case, "SALT"), raw(case, "INFO"))
            assert made.derive(raw(case, "IKM")) == raw(case, "OKM")
            seen += 1
    assert seen == 3


def test_scrypt_is_that_of_rfc_7914() -> None:
    seen = 0
    for case in published("KDF/scrypt.txt"):
        n, r, p = (int(case[name]) for name in ("N", "R", "P"))
        if n <= 1 << 15:
            made = hashlib.scrypt(
                case["PASSWORD"].encode(), salt=case["SALT"].encode(), n=n, r=r, p=p,
                dklen=int(case["LENGTH"]), maxmem=132 * r * (n + p + 2),
            )  # fmt: skip
            assert made == raw(case, "DERIVED_KEY")
            seen += 1
    assert seen >= 2
    # And ours gives a 256-bit key of it, with the parameters of a keyring.
    lock = sealed_ring.locked_by_passphrase(
        Secret(bytes(32)), Secret(b"pleaseletmein"), cost=14, entropy=lambda n: b"\x01" * n
    )
    key = hashlib.scrypt(
        b"pleaseletmein", salt=b"\x01" * 16, n=1 << 14, r=8, p=1, dklen=32, maxmem=1 << 26
    )
    assert AESGCM(key).decrypt(lock.nonce, lock.root, b"usance.keyring.1") == bytes(32)


@pytest.mark.parametrize(
    ("name", "kind", "valid"),
    [
        ("aes_gcm_test.json", AESGCM, 39),
        pytest.param("aes_gcm_test.json", compiled_gcm, 39, marks=COMPILED),
        ("aes_gcm_siv_test.json", AESGCMSIV, 50),
        ("chacha20_poly1305_test.json", ChaCha20Poly1305, 200),
    ],
)
def test_authenticated_ciphers_judge_as_wycheproof_does(name: str, kind: Any, valid: int) -> None:
    seen: Counter[str] = Counter()
    for case in facts(name):
        nonce, sealed = raw(case, "iv"), raw(case, "ct") + raw(case, "tag")
        if len(nonce) != 12:
            seen["another nonce"] += 1  # never made or taken here
            continue
        cipher, aad = kind(raw(case, "key")), raw(case, "aad")
        if case["result"] == "valid":
            assert cipher.decrypt(nonce, sealed, aad) == raw(case, "msg"), case["tcId"]
            assert cipher.encrypt(nonce, raw(case, "msg"), aad) == sealed, case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(nonce, sealed, aad)
        seen[case["result"]] += 1
    assert seen["valid"] >= valid
    assert seen["invalid"] >= 20


def test_siv_judges_as_wycheproof_does() -> None:
    seen: Counter[str] = Counter()
    for case in facts("aead_aes_siv_cmac_test.json"):
        cipher, bound = AESSIV(raw(case, "key")), [raw(case, "aad"), raw(case, "iv")]
        sealed = raw(case, "tag") + raw(case, "ct")
        if case["result"] == "valid":
            assert cipher.decrypt(sealed, bound) == raw(case, "msg"), case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(sealed, bound)
        seen[case["result"]] += 1
    assert min(seen["valid"], seen["invalid"]) >= 50


def test_wraps_and_derivations_judge_as_wycheproof_does() -> None:
    for case in facts("aes_wrap_test.json"):
        if case["result"] == "valid":
            assert aes_key_unwrap(raw(case, "key"), raw(case, "ct")) == raw(case, "msg")
        elif case["result"] == "invalid":
            with pytest.raises((InvalidUnwrap, ValueError)):
                aes_key_unwrap(raw(case, "key"), raw(case, "ct"))
    derived = [c for c in facts("hkdf_sha256_test.json") if c["result"] == "valid"]
    for case in derived:
        made = HKDF(SHA256(), case["size"], raw(case, "salt"), raw(case, "info"))
        assert made.derive(raw(case, "ikm")) == raw(case, "okm"), case["tcId"]
    authentic = 0
    for case in facts("hmac_sha256_test.json"):
        tag = hmac.digest(raw(case, "key"), raw(case, "msg"), "sha256")[: case["tagSize"] // 8]
        same = hmac.compare_digest(tag, raw(case, "tag"))
        assert same == (case["result"] == "valid"), case["tcId"]
        authentic += same
    assert len(derived) > 70
    assert authentic > 20
