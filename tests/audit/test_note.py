"""Notes, checkpoints and cosignatures: published vectors, and everything a hostile file may hold.

Provenance of the vectors: the package documentation of golang.org/x/mod/sumdb/note.
"""

import random

import pytest

from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.note import Checkpoint, SigningKey

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "This is an example message.\n"
LINE = (
    "— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SIGNED = (TEXT + "\n" + LINE).encode()
KEY = SigningKey(bytes(range(32)))
ORIGIN = "bank.example/usance/test/1/trade.events/p000"
LOG = note.Verifier(ORIGIN, KEY.public)


def code_of(call, *args):
    with pytest.raises(Detected) as found:
        call(*args)
    return found.value.code


def test_the_published_note_verifies_and_key_ids_are_those_published():
    foo = note.parse_vkey(FOO)
    assert foo.key_id.hex() == "530d903a"
    assert foo.vkey == FOO
    assert note.parse_vkey(NEUMANN).key_id.hex() == "c74f20a3"
    assert note.open_note(SIGNED, [foo]).text == TEXT


@pytest.mark.parametrize(
    "damage",
    [
        SIGNED.replace(b"example message", b"example massage"),
        SIGNED.replace(b".\n\n", b".\n\n\n", 1),
        SIGNED.replace(b"Uw2QOkn8", b"Uw2QOkn9"),
    ],
)
def test_a_known_keys_bad_signature_refuses_the_whole_note(damage):
    assert code_of(note.open_note, damage, [note.parse_vkey(FOO)]) == "BAD_SIGNATURE"


def test_a_note_whose_signers_are_strangers_is_of_an_unknown_key():
    assert code_of(note.open_note, SIGNED, [note.parse_vkey(NEUMANN)]) == "UNKNOWN_KEY"
    again = note.with_signatures(SIGNED, [note.parse_signature(LINE.rstrip("\n"))])
    assert again == SIGNED, "one signature per key"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n",
        TEXT.encode() + LINE.encode(),
        SIGNED.rstrip(b"\n"),
        SIGNED.replace("—".encode(), b"-"),
        SIGNED.replace(b"\n", b"\r\n"),
        SIGNED.replace(b"This", b"Th\x00s"),
        SIGNED.replace(b"aQM=", b"aQM"),
        SIGNED.replace(b"Uw2Q", b"Uw-Q"),
        SIGNED.replace(b"example.com/foo U", b"example.com/f+o U"),
        SIGNED.replace(b"This", b"\xff\xfe"),
        TEXT.encode() + b"\n" + LINE.encode() * 101,
    ],
)
def test_what_is_no_note_is_malformed(raw):
    assert code_of(note.parse_note, raw) == "MALFORMED"


def test_the_text_ends_at_the_last_empty_line():
    raw = note.sign_note("one\n\ntwo\n", "name", KEY)
    assert note.open_note(raw, [note.Verifier("name", KEY.public)]).text == "one\n\ntwo\n"


def test_a_checkpoint_is_bound_to_its_origin():
    head = Checkpoint(ORIGIN, 5, bytes(32))
    raw = note.sign_note(head.text(), ORIGIN, KEY)
    assert raw.decode().startswith(f"{ORIGIN}\n5\n{'A' * 43}=\n\n— {ORIGIN} ")
    assert note.open_checkpoint(raw, LOG) == head
    other = note.Verifier(ORIGIN.replace("p000", "p003"), KEY.public)
    assert code_of(note.open_checkpoint, raw, other) == "WRONG_ORIGIN"
    stranger = note.Verifier(ORIGIN, SigningKey(bytes(32)).public)
    assert code_of(note.open_checkpoint, raw, stranger) == "UNKNOWN_KEY"


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\n",
        "o\n01\n" + note.b64(bytes(32)) + "\n",
        "o\n-1\n" + note.b64(bytes(32)) + "\n",
        "o\n1\n" + note.b64(bytes(31)) + "\n",
        "o\n99999999999999999999\n" + note.b64(bytes(32)) + "\n",
        "\n1\n" + note.b64(bytes(32)) + "\n",
        "o\n1\n" + note.b64(bytes(32)),
        "o\n9223372036854775808\n" + note.b64(bytes(32)) + "\n",
    ],
)
def test_what_is_no_checkpoint_is_malformed(text):
    assert code_of(note.parse_checkpoint, text) == "MALFORMED"


def test_a_cosignature_has_a_key_id_and_a_time_of_its_own():
    witness = note.Verifier("witness.example/w1", KEY.public, note.COSIGNATURE)
    assert witness.key_id != note.Verifier("witness.example/w1", KEY.public).key_id
    assert note.parse_vkey(witness.vkey) == witness
    text = Checkpoint(ORIGIN, 5, bytes(32)).text()
    raw = note.with_signatures(
        note.sign_note(text, ORIGIN, KEY), [note.cosign(text, witness.name, KEY, 1_767_225_600)]
    )
    opened = note.open_note(raw, [LOG, witness])
    assert opened.signers == (LOG, witness)
    assert opened.times == {"witness.example/w1": 1_767_225_600}
    moved = raw.replace(
        note.cosign(text, witness.name, KEY, 1_767_225_600).line().encode(),
        note.Signature(
            witness.name,
            witness.key_id,
            (1_767_225_601).to_bytes(8, "big")
            + note.cosign(text, witness.name, KEY, 1_767_225_600).blob[8:],
        )
        .line()
        .encode(),
    )
    assert code_of(note.open_note, moved, [LOG, witness]) == "BAD_SIGNATURE"


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        FOO.replace("530d903a", "530d903b"),
        FOO.replace("example.com/foo", "example.com foo"),
        FOO[:-4],
        "n+00000000+AAAA",
    ],
)
def test_what_is_no_key_is_malformed(vkey):
    assert code_of(note.parse_vkey, vkey) == "MALFORMED"


def test_no_changed_byte_of_a_signed_head_is_accepted():
    raw = note.sign_note(Checkpoint(ORIGIN, 5, bytes(32)).text(), ORIGIN, KEY)
    for at in range(len(raw)):
        for bit in (1, 8, 128):
            changed = raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
            with pytest.raises(Detected):
                note.open_checkpoint(changed, LOG)


def test_junk_never_crashes_the_parser():
    dice = random.Random(7)
    raw = bytearray(note.sign_note(Checkpoint(ORIGIN, 5, bytes(32)).text(), ORIGIN, KEY))
    for _ in range(5_000):
        junk = bytearray(raw)
        for _ in range(dice.randrange(1, 6)):
            junk[dice.randrange(len(junk))] = dice.randrange(256)
        cut = bytes(junk[: dice.randrange(len(junk) + 1)])
        with pytest.raises(Detected):
            note.open_checkpoint(cut, LOG)
