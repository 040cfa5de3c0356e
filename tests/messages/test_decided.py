"""What an accepted command causes, made in one step: byte for byte what is made record by record."""

from __future__ import annotations

import os
import tracemalloc
from typing import Any

import msgspec
import pytest
import sample_messages as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.crypto import sealing
from usance.crypto.sealing import NONCES, DataKey
from usance.kernel import native
from usance.kernel.decider import Actor
from usance.log.contract import Output
from usance.messages import codec, frames
from usance.messages.envelope import Encoder, InputPosition, Meta
from usance.messages.outcome import Outcome
from usance.messages.registry import registered
from usance.messages.sealed import Sealer
from usance.testing.secrecy import memory_vault

pytestmark = pytest.mark.native
TO, ANSWERS_TO = (Output, "usance.trade.events", 3), (Output, "usance.trade.outcomes", 3)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module", autouse=True)
def switched_on() -> Any:
    """Test the extension even where USANCE_NATIVE switches it off."""
    before, codec.NATIVE = codec.NATIVE, native.load()[0]
    yield
    codec.NATIVE = before


def encoder(*, compiled: bool = True) -> Encoder:
    made = samples.codec()[0]
    made._type(samples.FileOpened)
    if not compiled:
        made._native, made._uuid5 = None, frames.uuid5
    return made


def meta_of(**changes: Any) -> Meta:
    usual = Meta(
        tenant="albion",
        actor=samples.MAKER,
        correlation=samples.COMMAND_ID,
        causation="api:17",
        command_id=samples.COMMAND_ID,
        body_hash=bytes(range(32)),
    )
    return msgspec.structs.replace(usual, **changes)


def step_by_step(
    encoder: Encoder, events: tuple[Any, ...], meta: Meta, place: Any, **at: Any
) -> Any:
    """Return the same from `events` and `answer`, the reference."""
    stream, revision, instant, trace = at["stream"], at["revision"], at["instant"], at["trace"]
    common = {"instant": instant, "input": place, "traceparent": trace}
    outputs, receipts, prev = encoder.events(
        events, meta, stream=stream, revision=revision, index=at["index"], prev=at["prev"],
        to=TO, **common,
    )  # fmt: skip
    outcome = Outcome(
        command_id=meta.command_id,
        body_hash=meta.body_hash,
        answer="accepted",
        log_time=instant,
        receipts=receipts,
        revision=revision - 1 + len(events),
    )
    answers, _, last = encoder.answer(
        outcome, meta, index=at["next"], prev=at["last"], to=ANSWERS_TO, **common
    )
    return outputs, receipts, prev, outcome, answers, last


def at_once(encoder: Encoder, events: tuple[Any, ...], meta: Meta, place: Any, **at: Any) -> Any:
    return encoder.decided(
        events, at.get("values"), meta, place, at["stream"], at["revision"], at["instant"],
        at["trace"], (at["index"], at["prev"], TO), (at["next"], at["last"], ANSWERS_TO),
    )  # fmt: skip


PLACE: dict[str, Any] = {
    "stream": samples.KEY.encode(), "revision": 4, "instant": samples.INSTANT, "trace": None,
    "index": 77, "prev": bytes(32), "next": 99, "last": b"\x07" * 32,
}  # fmt: skip
EVENTS = st.lists(
    st.builds(
        lambda reference, amount: msgspec.structs.replace(
            samples.EVENT, reference=reference, amount=amount
        ),
        st.text(max_size=300),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=12,
).map(tuple)
NUMBER = st.integers(0, 2**60)


@given(
    EVENTS,
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.builds(Actor, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)),
    st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, st.integers(0, 2**41)),
    st.sampled_from([None, TRACE]),
    st.binary(min_size=1, max_size=300),
)
@settings(max_examples=150)
def test_records_are_those_that_are_made_one_by_one(
    events: Any, text: str, actor: Actor, numbers: Any, trace: bytes | None, stream: bytes
) -> None:
    index, following, revision, offset, instant = numbers
    at = PLACE | {
        "index": index, "next": following, "revision": revision, "instant": instant,
        "trace": trace, "stream": stream,
    }  # fmt: skip
    meta = meta_of(causation=text, tenant=text, actor=actor)
    place = InputPosition("usance.trade.commands", offset % 12, offset)
    made = at_once(encoder(), events, meta, place, **at)
    if made is None:  # texts that are written by the reference
        assert not text.isascii()
        return
    assert made == step_by_step(encoder(compiled=False), events, meta, place, **at)
    assert all(type(output) is Output for output in (*made[0], *made[4]))


def test_events_that_were_written_before_are_taken_as_they_are() -> None:
    events = (samples.EVENT, samples.EVENT)
    values = encoder().values(events, meta_of(), b"s", 1)
    plain = at_once(encoder(), events, meta_of(), samples.INPUT, **PLACE)
    assert plain == at_once(encoder(), events, meta_of(), samples.INPUT, **PLACE, values=values)
    other = at_once(encoder(), events, meta_of(), samples.INPUT, **PLACE, values=[b"a", b"b"])
    assert [output.value for output in other[0]] == [b"a", b"b"]


@pytest.mark.parametrize(
    "change",
    [
        {"values": []}, {"values": [b"one too few"]}, {"values": ["no", "bytes"]}, {"values": (b"", b"")},
        {"prev": b"short"}, {"last": b"short"}, {"index": -(2**70)}, {"next": "1"}, {"revision": 2**63},
        {"stream": "no bytes"}, {"meta": {"body_hash": b"short"}},
        {"meta": {"command_id": "no uuid"}}, {"meta": {"correlation": "Zürich"}}, {"meta": {"causation": None}},
        {"input": ("usance.trade.commands", -1, 5)}, {"input": ("usance.trade.commands", 1, 2**70)},
        {"events": (samples.COMMAND, "no message")}, {"events": [samples.EVENT]},
        {"events": (msgspec.structs.replace(samples.EVENT, amount=2**80),)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_as_usual_goes_step_by_step(change: dict[str, Any]) -> None:
    events = (samples.EVENT, samples.EVENT)
    assert at_once(encoder(), events, meta_of(), samples.INPUT, **PLACE) is not None
    at = PLACE | {k: v for k, v in change.items() if k not in ("meta", "input", "events")}
    meta = meta_of(**change.get("meta", {}))
    place = InputPosition(*change.get("input", ("usance.trade.commands", 1, 5)))
    assert at_once(encoder(), change.get("events", events), meta, place, **at) is None


def test_an_actor_that_cannot_be_written_goes_step_by_step() -> None:
    meta = meta_of(actor=Actor("\ud800", "", ""))
    assert at_once(encoder(), (), meta, samples.INPUT, **PLACE) is None


def test_a_type_that_was_not_met_before_goes_step_by_step_once() -> None:
    fresh = samples.codec()[0]
    assert at_once(fresh, (samples.EVENT,), meta_of(), samples.INPUT, **PLACE) is None
    fresh.values((samples.EVENT,), meta_of(), b"s", 1)
    assert at_once(fresh, (samples.EVENT,), meta_of(), samples.INPUT, **PLACE) is not None


def test_without_the_extension_all_goes_step_by_step() -> None:
    assert at_once(encoder(compiled=False), (), meta_of(), samples.INPUT, **PLACE) is None


def test_nothing_is_left_in_memory() -> None:
    one, wrong = encoder(), meta_of(correlation="Zürich")
    events = (samples.EVENT, samples.EVENT)
    at_once(one, events, meta_of(), samples.INPUT, **PLACE)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            at_once(one, events, meta_of(), samples.INPUT, **PLACE)
            at_once(one, events, wrong, samples.INPUT, **PLACE)
            at_once(one, events, meta_of(), samples.INPUT, **PLACE, values=[b"", 1])
            at_once(one, events, meta_of(), samples.INPUT, **PLACE | {"last": b""})
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


# -- sealed events, which are written, sealed and chained in the same step


class Sealing:
    """A vault with keys for some subjects, and two encoders over it: the compiled one and the reference.

    Nonces are those of a list that both begin with.
    """

    def __init__(self, *, compiled_cipher: bool = True) -> None:
        before = sealing.COMPILED
        sealing.COMPILED = before if compiled_cipher else None
        try:
            self.vault = memory_vault()
            for subject in ("party-1", "party-2", samples.KEY, "Zürich 中国"):
                self.vault.seals("albion", subject, "relationship")
        finally:
            sealing.COMPILED = before
        self.compiled = self.encoder()
        codec.NATIVE, kept = None, codec.NATIVE
        try:
            self.reference = self.encoder()
        finally:
            codec.NATIVE = kept
        self.reference._native, self.reference._uuid5 = None, frames.uuid5
        self.nonces = [os.urandom(12) for _ in range(64)]

    def encoder(self) -> Encoder:
        known = samples.catalogue()
        made = Encoder(
            log_id=samples.LOG_ID,
            catalogue=known,
            registry=registered(known),
            sealer=Sealer(self.vault),
        )
        made._type(samples.FileOpened)
        assert made.sealer is not None
        made.sealer.seen = {key.key_id: 3 for key in self.vault.open_keys.values()}
        made.sealer.at("albion", b"s", 1, b"id", made._types[samples.FileOpened].kinds)
        return made

    def given(self, encoder: Encoder) -> Encoder:
        NONCES.pool[:] = self.nonces
        return encoder


PRIVATE = st.builds(
    lambda subject, name, account: samples.Applicant(subject=subject, name=name, account=account),
    st.sampled_from(["party-1", "party-2", "Zürich 中国", ""]),
    st.text(max_size=200),
    st.none() | st.text(max_size=30),
)
SEALED_EVENTS = st.lists(
    st.builds(
        lambda applicant, guarantor, amount: msgspec.structs.replace(
            samples.EVENT,
            amount=amount,
            applicant=applicant,
            guarantor=samples.Guarantor(subject="party-2", name=guarantor) if guarantor else None,
        ),
        PRIVATE,
        st.text(max_size=9_000),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=6,
).map(tuple)


@pytest.mark.parametrize("compiled_cipher", [True, False], ids=["libcrypto", "cryptography"])
@given(SEALED_EVENTS, NUMBER, st.binary(min_size=1, max_size=400).filter(lambda b: b.isascii()))
@settings(max_examples=80)
def test_sealed_records_are_those_that_the_reference_makes_with_the_same_nonces(
    compiled_cipher: bool, events: Any, revision: int, stream: bytes
) -> None:
    world = Sealing(compiled_cipher=compiled_cipher)
    at = PLACE | {"revision": revision, "stream": stream}
    needs_stream_key = any(event.applicant.subject == "" for event in events)
    if needs_stream_key:
        key = world.vault.seals("albion", stream.decode(), "relationship")
        for one in (world.compiled, world.reference):
            one.sealer.seen[key.key_id] = 1
    made = at_once(world.given(world.compiled), events, meta_of(), samples.INPUT, **at)
    left = len(NONCES.pool)
    again = step_by_step(world.given(world.reference), events, meta_of(), samples.INPUT, **at)
    assert made == again
    assert len(NONCES.pool) == left
    assert world.compiled.sealer.uses == world.reference.sealer.uses
    blocks = sum(1 + (event.guarantor is not None) for event in events)
    assert sum(world.compiled.sealer.uses.values()) == blocks == len(world.nonces) - left
    assert not world.compiled.sealer.fresh
    if events:
        assert made[0][0].value.count(b"\x01\x01") > 0


def _first_of(change: str, world: Sealing) -> Any:
    """Make one thing unusual; returns the events."""
    sealer, events = world.compiled.sealer, (samples.EVENT, samples.EVENT)
    applicant, guarantor = samples.EVENT.applicant, samples.EVENT.guarantor
    replace = msgspec.structs.replace
    match change:
        case "a new key":
            sealer.seen.pop(world.vault.seals("albion", "party-2", "relationship").key_id)
        case "an evicted key":
            world.vault.evict([world.vault.seals("albion", "party-2", "relationship").key_id])
        case "an unknown subject":
            events = (
                samples.EVENT,
                replace(samples.EVENT, applicant=replace(applicant, subject="x")),
            )
        case "a key that may only open":
            key = DataKey(bytes(16), bytes(32))
            sealer.seen[key.key_id] = 1
            world.vault.active("albion", "relationship")["party-2"] = key
        case "too much":
            events = (
                samples.EVENT,
                replace(samples.EVENT, guarantor=replace(guarantor, name="x" * 65_536)),
            )
        case "no nonces":
            world.nonces = world.nonces[:3]
            NONCES.ready = lambda: NONCES.pool
        case "another tenant's types":
            sealer._active = {}
        case "a value that is not as usual":
            events = (samples.EVENT, replace(samples.EVENT, amount=2**80))
        case "an answer that cannot be made":
            return (*events, "last")
    return events


@pytest.mark.parametrize(
    "change",
    [
        "a new key", "an evicted key", "an unknown subject", "a key that may only open", "too much",
        "no nonces", "another tenant's types", "a value that is not as usual", "an answer that cannot be made",
    ],
)  # fmt: skip
def test_where_it_cannot_seal_nothing_is_counted_and_nothing_written(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Sealing()
    known = world.vault.seals("albion", "party-1", "relationship").key_id
    world.compiled.sealer.uses = {known: 7}
    monkeypatch.setattr(NONCES, "ready", NONCES.ready)
    events = _first_of(change, world)
    at = dict(PLACE)
    if change == "an answer that cannot be made":
        events, at = events[:-1], PLACE | {"last": b"short"}
    world.given(world.compiled)
    assert at_once(world.compiled, events, meta_of(), samples.INPUT, **at) is None
    assert world.compiled.sealer.uses == {known: 7}
    assert not world.compiled.sealer.fresh


def test_without_what_seals_a_private_event_is_never_written_in_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Sealing()
    monkeypatch.setattr(world.compiled.sealer, "for_all", lambda _tenant: None)
    assert at_once(world.compiled, (samples.EVENT,), meta_of(), samples.INPUT, **PLACE) is None
    for wrong in ((), ({}, {}, {}, []), ([], {}, {}, [], b""), ({}, {}, {}, (), b"")):
        monkeypatch.setattr(world.compiled.sealer, "for_all", lambda _tenant, w=wrong: w)
        assert at_once(world.compiled, (samples.EVENT,), meta_of(), samples.INPUT, **PLACE) is None


def test_a_sealed_record_takes_no_nonce_twice_and_more_are_drawn_in_time() -> None:
    world, seen = Sealing(), set()
    NONCES.clear()
    for n in range(200):
        at = PLACE | {"index": n, "revision": n + 1}
        made = at_once(world.compiled, (samples.EVENT,), meta_of(), samples.INPUT, **at)
        value = made[0][0].value
        for key in world.vault.open_keys.values():
            front = value.find(key.head)
            if front >= 0:
                seen.add(value[front + 18 : front + 30])
    assert len(seen) == 400


def test_sealing_leaves_nothing_in_memory() -> None:
    world = Sealing()
    events = (samples.EVENT, samples.EVENT)
    unknown = msgspec.structs.replace(samples.APPLICANT, subject="nobody")
    wrong = (samples.EVENT, msgspec.structs.replace(samples.EVENT, applicant=unknown))
    at_once(world.compiled, events, meta_of(), samples.INPUT, **PLACE)
    tracemalloc.start()
    try:
        at_once(world.compiled, events, meta_of(), samples.INPUT, **PLACE)
        NONCES.clear()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            at_once(world.compiled, events, meta_of(), samples.INPUT, **PLACE)
            at_once(world.compiled, wrong, meta_of(), samples.INPUT, **PLACE)
            at_once(world.compiled, events, meta_of(), samples.INPUT, **PLACE | {"last": b""})
        NONCES.clear()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
