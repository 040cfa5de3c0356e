"""The envelope of sealed blocks: what opens for ever, and that nothing else ever does."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import second_sealing
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.crypto import sealing
from usance.crypto.sealing import (
    NO_REVISION,
    NONCES_AT_ONCE,
    OVERHEAD,
    PLAIN_BYTES_MAX,
    SUITES,
    DataKey,
    Nonces,
    Place,
    SealingKey,
    key_id_of,
    place_aad,
)
from usance.kernel.errors import Tampered, Unreadable

VECTORS = json.loads((Path(__file__).parent / "vectors" / "sealed.json").read_text("utf-8"))
MOST = bytes(n * 7 & 255 for n in range(65_536))
PLACE = Place("albion", "albion/credit/TF1", 7, "0b1c-id", "usance.trade.CreditApplied")
SCHEMA = b"\x01\x02\x03\x04\x05\x06\x07\x08"
AAD = place_aad(PLACE, "parties", SCHEMA)


@pytest.fixture(params=["cryptography", pytest.param("compiled", marks=pytest.mark.native)])
def each_cipher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make every key that is made from now on one of this cipher; returns its name."""
    if request.param == "cryptography":
        monkeypatch.setattr(sealing, "COMPILED", None)
    elif sealing.COMPILED is None:
        pytest.skip("no libcrypto beside the extension")
    name: str = request.param
    return name


def plain_of(vector: dict[str, Any]) -> bytes:
    return MOST if vector["plain"] == "most" else base64.b64decode(vector["plain"])


def key_of(vector: dict[str, Any]) -> SealingKey:
    return SealingKey(
        bytes.fromhex(vector["key_id"]), bytes.fromhex(vector["key"]), vector["suite"]
    )


def aad_of(vector: dict[str, Any]) -> bytes:
    place = Place(*(vector[name] for name in Place._fields))
    return place_aad(place, vector["block"], bytes.fromhex(vector["schema"]))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
@pytest.mark.usefixtures("each_cipher")
def test_an_envelope_of_the_first_day_opens_for_ever(vector: dict[str, Any]) -> None:
    sealed = base64.b64decode(vector["sealed"])
    assert key_of(vector).open(sealed, aad_of(vector)) == plain_of(vector)
    assert key_id_of(sealed).hex() == vector["key_id"]
    assert len(sealed) == len(plain_of(vector)) + OVERHEAD


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_an_implementation_made_from_the_description_opens_it_too(vector: dict[str, Any]) -> None:
    sealed, key = base64.b64decode(vector["sealed"]), bytes.fromhex(vector["key"])
    assert second_sealing.open_block(sealed, key, vector) == plain_of(vector)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
@pytest.mark.usefixtures("each_cipher")
def test_sealing_again_with_the_same_nonce_gives_the_same_bytes(vector: dict[str, Any]) -> None:
    sealed = base64.b64decode(vector["sealed"])
    assert key_of(vector).seal(plain_of(vector), aad_of(vector), sealed[18:30]) == sealed


def test_there_are_forty_vectors_of_every_suite_and_size() -> None:
    assert len(VECTORS) >= 40
    assert {v["suite"] for v in VECTORS} == set(SUITES)
    assert {len(plain_of(v)) for v in VECTORS} >= {0, 1, 200, 65_536}
    assert any(not v["tenant"].isascii() for v in VECTORS)


@pytest.mark.usefixtures("each_cipher")
def test_every_flipped_bit_of_every_vector_is_refused() -> None:
    refused = 0
    for vector in VECTORS:
        key, aad, sealed = key_of(vector), aad_of(vector), base64.b64decode(vector["sealed"])
        places = (
            range(len(sealed)) if len(sealed) < 400 else [*range(62), *range(62, len(sealed), 997)]
        )
        for at in places:
            for bit in range(8):
                changed = bytearray(sealed)
                changed[at] ^= 1 << bit
                with pytest.raises(Tampered):
                    key.open(bytes(changed), aad)
                refused += 1
    assert refused > 40_000


@pytest.mark.usefixtures("each_cipher")
def test_every_truncation_and_any_byte_more_is_refused() -> None:
    for vector in VECTORS:
        key, aad, sealed = key_of(vector), aad_of(vector), base64.b64decode(vector["sealed"])
        ends = range(len(sealed)) if len(sealed) < 400 else range(0, len(sealed), 991)
        for changed in (*(sealed[:end] for end in ends), sealed + b"\x00", b"\x00" + sealed):
            with pytest.raises(Tampered):
                key.open(changed, aad)


@pytest.mark.usefixtures("each_cipher")
def test_no_envelope_opens_in_the_place_of_another() -> None:
    small = [v for v in VECTORS if v["plain"] != "most"]
    for one, other in combinations(small, 2):
        sealed = base64.b64decode(one["sealed"])
        for key, aad in ((key_of(other), aad_of(one)), (key_of(other), aad_of(other))):
            with pytest.raises(Tampered):
                key.open(sealed, aad)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(
    "moved",
    [
        {"tenant": "other"},
        {"stream": "albion/credit/TF2"},
        {"revision": 8},
        {"revision": NO_REVISION},
        {"record_id": "another-id"},
        {"fullname": "usance.trade.CreditReceived"},
        {"tenant": "albionalbion/credit", "stream": "/TF1"},
        {"tenant": "", "stream": "albionalbion/credit/TF1"},
    ],
)
@pytest.mark.usefixtures("each_cipher")
def test_a_block_moved_to_another_place_is_refused(suite: int, moved: dict[str, Any]) -> None:
    key = SealingKey(bytes(16), bytes(32), suite)
    sealed = key.seal(b"secret", AAD)
    with pytest.raises(Tampered):
        key.open(sealed, place_aad(PLACE._replace(**moved), "parties", SCHEMA))


@pytest.mark.parametrize(("name", "schema"), [("narrative", SCHEMA), ("parties", bytes(8))])
def test_a_block_of_another_field_or_schema_is_refused(name: str, schema: bytes) -> None:
    key = SealingKey(bytes(16), bytes(32))
    with pytest.raises(Tampered):
        key.open(key.seal(b"secret", AAD), place_aad(PLACE, name, schema))


def test_parts_of_a_place_never_run_together() -> None:
    one = place_aad(PLACE._replace(tenant="ab", stream="c"), "n", SCHEMA)
    other = place_aad(PLACE._replace(tenant="a", stream="bc"), "n", SCHEMA)
    assert one != other
    assert place_aad(PLACE, "ab", b"c") != place_aad(PLACE, "a", b"bc")


@pytest.mark.usefixtures("each_cipher")
def test_a_changed_suite_is_refused_before_anything_is_decrypted() -> None:
    secret = os.urandom(32)
    for suite in SUITES:
        sealed = SealingKey(bytes(16), secret, suite).seal(b"secret", AAD)
        for other in SUITES:
            changed = bytes((1, other)) + sealed[2:]
            for key in (DataKey(bytes(16), secret, suite), DataKey(bytes(16), secret, other)):
                if other != suite:
                    with pytest.raises(Tampered):
                        key.open(changed, AAD)
    with pytest.raises(Tampered):
        key_id_of(b"\x01\x04" + bytes(100))


@pytest.mark.usefixtures("each_cipher")
def test_one_ciphertext_never_opens_under_two_keys() -> None:
    """GCM alone does not commit: the commitment does, and it is compared before decrypting."""
    one, other = SealingKey(bytes(16), b"\x01" * 32), SealingKey(bytes(16), b"\x02" * 32)
    sealed = one.seal(b"secret", AAD)
    assert one.commit != other.commit
    with pytest.raises(Tampered, match="another key"):
        other.open(sealed, AAD)
    with pytest.raises(Tampered):
        other.open(sealed[:30] + other.commit + sealed[46:], AAD)


def test_a_thousand_seals_of_one_text_have_a_thousand_nonces() -> None:
    key = SealingKey(bytes(16), bytes(32))
    sealed = [key.seal(b"the same", AAD) for _ in range(3 * NONCES_AT_ONCE + 232)]
    assert len({block[18:30] for block in sealed}) == len(sealed) == 1_000


def test_a_retried_command_with_other_words_never_meets_its_old_nonce() -> None:
    """A crash between seal and commit: the same place, other plaintext, one key."""
    key, seen = SealingKey(bytes(16), bytes(32)), set()
    for attempt in range(2_000):
        block = key.seal(b"attempt %d" % attempt, AAD)
        seen.add(block[18:30])
        if attempt % 500 == 0:
            sealing.NONCES.clear()  # a new process begins with nothing
    assert len(seen) == 2_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_draws_nonces_of_its_own() -> None:
    pool = Nonces()
    pool.next()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(pool.next() for _ in range(NONCES_AT_ONCE - 1)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 65_536)
    ours = {pool.next() for _ in range(NONCES_AT_ONCE - 1)}
    assert len(theirs) == 12 * (NONCES_AT_ONCE - 1)
    assert not ours & {theirs[at : at + 12] for at in range(0, len(theirs), 12)}


@pytest.mark.usefixtures("each_cipher")
def test_what_is_too_large_is_refused_with_what_to_do() -> None:
    key = SealingKey(bytes(16), bytes(32))
    assert key.open(key.seal(bytes(PLAIN_BYTES_MAX), AAD), AAD) == bytes(PLAIN_BYTES_MAX)
    with pytest.raises(Unreadable) as refused:
        key.seal(bytes(PLAIN_BYTES_MAX + 1), AAD)
    assert refused.value.hint
    with pytest.raises(Tampered):
        key.open(bytes((1, 1)) + bytes(PLAIN_BYTES_MAX + 100), AAD)


@pytest.mark.parametrize("length", [0, 8, 11, 13, 16, 128])
@pytest.mark.usefixtures("each_cipher")
def test_only_nonces_of_twelve_bytes_are_taken(length: int) -> None:
    with pytest.raises(Unreadable):
        SealingKey(bytes(16), bytes(32)).seal(b"", AAD, bytes(length))


def test_a_key_shows_nothing_of_itself_and_is_never_copied() -> None:
    secret = b"canary-canary-canary-canary-1234"
    key = SealingKey(b"\xab" * 16, secret)
    shown = f"{key!r} {key} {key.__doc__}"
    assert secret.hex() not in shown
    assert "canary" not in shown
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_key_that_may_only_open_cannot_seal() -> None:
    assert not hasattr(DataKey(bytes(16), bytes(32)), "seal")


@settings(max_examples=200)
@given(
    st.binary(max_size=300),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(sorted(SUITES)),
    st.builds(
        Place,
        st.text(max_size=20),
        st.text(max_size=40),
        st.integers(0, NO_REVISION),
        st.text(max_size=36),
        st.text(max_size=40),
    ),
    st.data(),
)
def test_what_was_sealed_opens_and_no_change_of_it_does(
    plain: bytes, secret: bytes, suite: int, place: Place, data: st.DataObject
) -> None:
    key, aad = SealingKey(bytes(16), secret, suite), place_aad(place, "block", SCHEMA)
    sealed = key.seal(plain, aad)
    assert key.open(sealed, aad) == plain
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[at // 8] ^= 1 << at % 8
    with pytest.raises(Tampered):
        key.open(bytes(changed), aad)


@pytest.mark.usefixtures("each_cipher")
def test_the_self_test_refuses_to_start_on_a_library_that_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sealing.self_test()
    monkeypatch.setattr(sealing, "_KNOWN", dict.fromkeys(SUITES, b"something else"))
    with pytest.raises(Tampered):
        sealing.self_test()


def test_sealing_costs_at_most_four_times_the_bare_cipher() -> None:
    """Trap 3: a cipher or key derivation per call would be far beyond it."""
    key, plain = SealingKey(bytes(16), bytes(32)), bytes(200)
    bare = key.encrypt

    def least(work: Any) -> float:
        spans = []
        for _ in range(9):
            start = time.thread_time()
            for _ in range(2_000):
                work()
            spans.append(time.thread_time() - start)
        return min(spans)

    raw = least(lambda: bare(os.urandom(12), plain, AAD))
    sealed = key.seal(plain, AAD)
    assert least(lambda: key.seal(plain, AAD)) <= 4 * raw
    assert least(lambda: key.open(sealed, AAD)) <= 4 * raw


def test_secrets_are_compared_in_constant_time_alone() -> None:
    """Trap 13: no == on what an attacker could find out byte by byte."""
    source = Path(sealing.__file__).parent
    wrong = re.compile(
        r"\b(commit|tag|mac|digest|token|check)\w*\s*(==|!=)|(==|!=)\s*\w*\.?(commit|tag|mac|check)\b"
    )
    found = [
        f"{file.name}:{number}"
        for file in source.glob("*.py")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if wrong.search(line.split("#")[0])
    ]
    assert found == []
