"""Records as section 8 of the architecture fixes them: headers, meta, framing, blocks, hashes."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import struct
import uuid
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_messages import (
    APPLICANT,
    COMMAND,
    COMMAND_ID,
    EVENT,
    INPUT,
    INSTANT,
    KEY,
    LOG_ID,
    MAKER,
    PREV,
    Applicant,
    OpenFile,
    catalogue,
    codec,
)

from usance.audit.chain import envelope_hash
from usance.kernel.clock import iso
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Tampered, Unreadable
from usance.messages.envelope import BODY_KEY_CLEAR, InputOffset, InputPosition, Meta, instant_text
from usance.messages.meta import NO_HASH
from usance.messages.outcome import (
    Outcome,
    Receipt,
    UnitFooter,
    dead_letter_headers,
    read_dead_letter,
)

ENCODER, DECODER, REGISTRY = codec()


@pytest.fixture(autouse=True, scope="module")
def codec_in_turn(each_codec: str) -> None:
    """Do everything with one codec, then with the other."""
    global ENCODER, DECODER, REGISTRY
    ENCODER, DECODER, REGISTRY = codec()


def command_wire(**more: Any) -> Any:
    arguments = {"key": KEY, "command_id": COMMAND_ID, "tenant": "albion", "actor": MAKER}
    return ENCODER.command(COMMAND, **(arguments | {"at": INSTANT} | more))


def event_wire(**more: Any) -> Any:
    meta = DECODER.meta(command_wire()[2])
    arguments = {"stream": KEY, "ordinal": 0, "revision": 4, "index": 9, "prev": PREV}
    arguments |= {"instant": INSTANT, "input": INPUT}
    return ENCODER.event(EVENT, meta, **(arguments | more))


def fast_record(framed: bytes) -> Any:
    known = REGISTRY.by_id(struct.unpack(">I", framed[1:5])[0])
    assert framed[0] == 0 and known is not None
    schema = fastavro.parse_schema(json.loads(known.schema.text))
    source = io.BytesIO(framed[5:])
    value = fastavro.schemaless_reader(source, schema)
    assert source.read() == b""
    return value


def test_a_command_comes_back_with_its_meta() -> None:
    key, value, headers = command_wire(correlation="c-1", causation="saga:x", instant=5, reply=2)
    got = DECODER.record(key, value, headers)
    assert got.message == COMMAND
    assert got.type.fullname == "usance.trade.OpenFile"
    meta = got.meta
    assert (meta.tenant, meta.actor, meta.command_id) == ("albion", MAKER, COMMAND_ID)
    assert (meta.correlation, meta.causation, meta.instant, meta.reply) == ("c-1", "saga:x", 5, 2)
    assert (meta.revision, meta.index, meta.prev, meta.input) == (-1, -1, None, None)


def test_headers_stand_in_the_fixed_order_with_the_fixed_content() -> None:
    _, _, headers, _ = event_wire(traceparent=b"00-trace")
    assert [name for name, _ in headers] == [
        "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "usance-meta",
        "content-type", "traceparent",
    ]  # fmt: skip
    said = dict(headers)
    assert said["ce_specversion"] == b"1.0"
    assert said["ce_type"] == b"usance.trade.FileOpened"
    assert said["ce_source"] == f"/usance/{LOG_ID}/trade".encode()
    assert said["ce_subject"] == KEY.encode()
    assert said["ce_time"] == b"2026-09-21T14:13:20.123Z"
    assert said["ce_id"].decode() == str(uuid.uuid5(uuid.UUID(COMMAND_ID), "0"))


def test_the_hand_joined_meta_is_the_avro_record_that_its_schema_says() -> None:
    encoded = event_wire()
    meta = fast_record(dict(encoded[2])["usance-meta"])
    assert meta == {
        "tenant": "albion",
        "actor": {"person": "p-17", "login": "login-9", "role": "maker"},
        "revision": 4,
        "index": 9,
        "prev": PREV,
        "correlation": COMMAND_ID,
        "causation": "",
        "command_id": COMMAND_ID,
        "body_hash": DECODER.meta(command_wire()[2]).body_hash,
        "input": {"partition": 3, "offset": 812_345},
        "schema": catalogue().named("usance.trade.FileOpened").schema.fingerprint,
        "instant": None,
        "reply": None,
    }
    assert DECODER.meta(encoded[2]).input == InputOffset(3, 812_345)


def test_the_envelope_hash_from_the_encoder_is_that_of_the_written_record() -> None:
    meta = DECODER.meta(command_wire()[2])
    outcome = Outcome(command_id=COMMAND_ID, body_hash=NO_HASH, answer="accepted", log_time=1)
    place = {"index": 1, "prev": PREV, "instant": INSTANT}
    for encoded in (
        event_wire(),
        event_wire(traceparent=b"00-x"),
        ENCODER.outcome(outcome, meta, input=INPUT, **place),
        ENCODER.outcome(outcome, meta, input=INPUT, stream=KEY, **place),
        ENCODER.footer(footer(), context="trade", **place),
        dead_letter(b"raw", b"bytes"),
        dead_letter(None, None),
        dead_letter(b"\xff", b""),
    ):
        assert envelope_hash(*encoded[:3]) == encoded[3]


def footer(**more: Any) -> UnitFooter:
    numbers = {f: 1 for f in UnitFooter.__struct_fields__ if not f.endswith("_tail")}
    tails = {f: PREV for f in UnitFooter.__struct_fields__ if f.endswith("_tail")}
    return UnitFooter(**(numbers | tails | more))


def dead_letter(key: bytes | None, value: bytes | None, original: Any = ()) -> Any:
    note = dead_letter_headers(
        dead_letter_id=COMMAND_ID, position=INPUT, timestamp=5, stage="decode", failure="poison",
        reason="bytes do not fit", key=key, value=value, attempts=2,
    )  # fmt: skip
    meta = Meta.bare(COMMAND_ID, actor=Actor("", "", "system"), causation="x")
    return ENCODER.dead_letter(
        key, value, (*note, *original), meta, dead_letter_id=COMMAND_ID, index=0, prev=PREV,
        instant=INSTANT, input=INPUT,
    )  # fmt: skip


def test_a_dead_letter_keeps_key_value_and_every_original_header_even_hostile_ones() -> None:
    original = (("ce_id", b"mine"), ("usance-dlq-end", b""), ("usance-meta", b""), ("ce_id", b""))
    key, value, headers, _ = dead_letter(b"\xffkey", b"\x00bytes", original)
    assert (key, value) == (b"\xffkey", b"\x00bytes")
    read = read_dead_letter(headers)
    assert read.original_headers == original
    assert (read.note.stage, read.note.offset, read.note.attempts) == ("decode", 812_345, 2)
    assert read.note.payload_sha256 == hashlib.sha256(b"\x00bytes").hexdigest()
    assert DECODER.meta(headers).index == 0
    with pytest.raises(Unreadable):
        read_dead_letter(original[:1])


def test_an_outcome_and_a_footer_come_back_and_carry_their_identifiers() -> None:
    meta = DECODER.meta(command_wire()[2])
    receipt = Receipt(partition=3, index=9, envelope_hash=PREV)
    outcome = Outcome(
        command_id=COMMAND_ID, body_hash=meta.body_hash, answer="dead-lettered", log_time=7,
        receipts=[receipt],
    )  # fmt: skip
    out = ENCODER.outcome(outcome, meta, index=2, prev=PREV, instant=INSTANT, input=INPUT)
    assert out[0] == COMMAND_ID.encode()
    assert DECODER.record(*out[:3]).message == outcome
    expected = uuid.uuid5(uuid.UUID(LOG_ID), "3/812345/outcome/dead-lettered")
    assert dict(out[2])["ce_id"].decode() == str(expected)
    foot = ENCODER.footer(
        footer(partition=3, unit=8), context="trade", index=3, prev=PREV, instant=INSTANT
    )
    assert foot[0] == b"footer/3"
    assert DECODER.record(*foot[:3]).message == footer(partition=3, unit=8)
    assert dict(foot[2])["ce_id"].decode() == str(uuid.uuid5(uuid.UUID(LOG_ID), "3/8"))


def test_the_meta_of_one_command_never_leaks_into_the_next() -> None:
    metas = [DECODER.meta(command_wire(command_id=i, actor=a)[2]) for i, a in IDENTITIES]
    for meta, (command_id, actor) in zip(metas, IDENTITIES, strict=True):
        for offset in (1, 2):
            place = InputPosition("usance.compliance.commands", 0, offset)
            encoded = ENCODER.event(
                EVENT, meta, stream=KEY, ordinal=1, revision=1, index=0, prev=PREV, instant=offset,
                input=place,
            )  # fmt: skip
            got = DECODER.meta(encoded[2])
            assert (got.command_id, got.actor, got.input) == (command_id, actor, (0, offset))
            assert dict(encoded[2])["ce_source"].endswith(b"/compliance")
            assert dict(encoded[2])["ce_time"] == iso(offset).encode()


IDENTITIES = [
    ("a-1", Actor("p", "l", "r")),
    ("a-2", Actor("p", "l", "checker")),
    (COMMAND_ID, MAKER),
]


@given(st.integers(0, 4_000_000_000_000))
def test_instants_are_formatted_as_the_kernel_does(instant: int) -> None:
    assert instant_text(instant).decode() == iso(instant)


# -- body hash


def test_the_body_hash_is_the_keyed_hash_of_length_prefixed_parts() -> None:
    key, value, headers = command_wire()
    parts = (COMMAND_ID.encode(), b"usance.trade.OpenFile", key, value[5:])
    packed = b"".join(struct.pack(">I", len(p)) + p for p in parts)
    expected = hmac.new(BODY_KEY_CLEAR, packed, hashlib.sha256).digest()
    assert DECODER.meta(headers).body_hash == expected


def test_the_body_hash_ignores_time_trace_correlation_and_sender_but_nothing_of_the_body() -> None:
    def hashed(**more: Any) -> bytes:
        return DECODER.meta(command_wire(**more)[2]).body_hash

    same = {"at": 1, "instant": 9, "correlation": "z", "causation": "y", "traceparent": b"t"}
    assert hashed() == hashed(**same)
    assert hashed() != hashed(key=KEY + "4")
    assert hashed() != hashed(command_id="other")
    changed = msgspec.structs.replace(COMMAND, applicant=Applicant(subject="party-1", name="x"))
    wire = ENCODER.command(changed, key=KEY, command_id=COMMAND_ID, tenant="albion", actor=MAKER)
    assert hashed() != DECODER.meta(wire[2]).body_hash


# -- private blocks


def test_private_fields_stand_in_blocks_and_never_at_top_level() -> None:
    _, value, _ = command_wire()
    record = fast_record(value)
    assert set(record) == {"reference", "amount", "private"}
    (entry,) = record["private"]
    block = catalogue().named("usance.trade.Applicant").schema
    assert (entry["name"], entry["subject"]) == ("applicant", "party-1")
    assert entry["schema"] == block.fingerprint
    assert entry["block"][:1] == b"\x00"
    schema = fastavro.parse_schema(json.loads(block.text))
    inner = fastavro.schemaless_reader(io.BytesIO(entry["block"][1:]), schema)
    assert inner == msgspec.to_builtins(APPLICANT)


def with_private(entries: list[dict[str, Any]]) -> bytes:
    """Return a framed OpenFile whose private array is as given."""
    entry = catalogue().named("usance.trade.OpenFile")
    schema = fastavro.parse_schema(json.loads(entry.text))
    out = io.BytesIO(command_wire()[1][:5])
    out.seek(5)
    record = {"reference": "TF26", "amount": 125_000_00, "private": entries}
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def blocks() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of an applicant and a guarantor."""
    both = msgspec.structs.replace(COMMAND, guarantor=EVENT.guarantor)
    wire = ENCODER.command(both, key=KEY, command_id=COMMAND_ID, tenant="t", actor=MAKER)
    one, two = fast_record(wire[1])["private"]
    return one, two


def test_blocks_in_another_order_or_number_are_read_as_well() -> None:
    one, two = blocks()
    for entries, guarantor in (([one, two], True), ([two, one], True), ([one], False)):
        got = DECODER.value(with_private(entries))
        assert got.applicant == APPLICANT
        assert (got.guarantor == EVENT.guarantor) is guarantor


def test_blocks_in_their_usual_order_are_read_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DECODER, "read", None)  # what reads the unusual ones
    one, two = blocks()
    for entries in ([one, two], [one]):
        assert DECODER.value(with_private(entries)).applicant == APPLICANT
    with pytest.raises(TypeError):
        DECODER.value(with_private([two, one]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda one, two: [],  # the applicant is required
        lambda one, two: [one, one],
        lambda one, two: [one, two, two],
        lambda one, two: [one | {"name": "stranger"}],
        lambda one, two: [one | {"subject": "party-9"}],
        lambda one, two: [one | {"schema": b"12345678"}],
        lambda one, two: [one | {"schema": two["schema"]}],
        lambda one, two: [one | {"block": b""}],
        lambda one, two: [one | {"block": one["block"][:-1]}],
        lambda one, two: [one | {"block": one["block"] + b"\x00"}],
        lambda one, two: [one | {"block": b"\x01" + one["block"][1:]}],
    ],
)
def test_a_private_array_that_is_not_as_the_type_says_is_unreadable(damage: Any) -> None:
    with pytest.raises(Unreadable):
        DECODER.value(with_private(damage(*blocks())))


def test_sealed_blocks_ask_for_keys_and_unknown_markers_stop_the_line() -> None:
    one, _ = blocks()
    with pytest.raises(Unreadable, match="sealed blocks need keys") as caught:
        DECODER.value(with_private([one | {"block": b"\x01" + bytes(80)}]))
    assert caught.value.stage == "decrypt"
    with pytest.raises(Tampered):
        DECODER.value(with_private([one | {"block": b"\x02" + one["block"][1:]}]))


def test_clear_blocks_are_tampering_where_the_genesis_forbids_them() -> None:
    _, strict, _ = codec(clear_blocks=False)
    with pytest.raises(Tampered, match="clear"):
        strict.value(command_wire()[1])


# -- bad input


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_damage_to_a_command_is_unreadable_or_tampered_and_nothing_else(data: Any) -> None:
    key, value, headers = command_wire()
    raw = bytearray(value)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    chosen = data.draw(st.permutations(headers))[: data.draw(st.integers(0, len(headers)))]
    chosen = tuple((n, v[: data.draw(st.integers(0, len(v)))]) for n, v in chosen)
    for read in (
        lambda: DECODER.message(chosen, bytes(raw[:cut])),
        lambda: DECODER.message(headers, bytes(raw)),
        lambda: DECODER.meta(chosen),
        lambda: DECODER.record(key, bytes(raw), chosen),
    ):
        try:
            read()
        except (Unreadable, Tampered) as error:
            assert error.hint
            assert "Importe" not in str(error)


def test_a_schema_id_that_means_something_else_here_is_noticed() -> None:
    key, value, headers = command_wire()
    other = event_wire()
    with pytest.raises(Unreadable, match="two types"):
        DECODER.message(headers, other[1])
    moved = tuple((n, other[2][6][1] if n == "usance-meta" else v) for n, v in headers)
    with pytest.raises(Unreadable, match="another schema"):
        DECODER.record(key, value, moved)
    with pytest.raises(Unreadable, match="no such schema id"):
        DECODER.value(b"\x00\x00\x00\xff\xff" + value[5:])
    assert DECODER.type_of(value).cls is OpenFile


def test_what_cannot_be_written_is_refused_before_anything_is_staged() -> None:
    meta = DECODER.meta(command_wire()[2])
    place = {"stream": KEY, "ordinal": 0, "revision": 1, "index": 0, "prev": PREV}
    huge = msgspec.structs.replace(EVENT, amount=2**63)
    with pytest.raises(Unreadable) as caught:
        ENCODER.event(huge, meta, instant=1, input=INPUT, **place)
    assert caught.value.stage == "serialize"
    with pytest.raises(NotFound, match="Meta2"):
        ENCODER.event(msgspec.defstruct("Meta2", [])(), meta, instant=1, input=INPUT, **place)
