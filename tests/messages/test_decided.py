"""What an accepted command causes, made in one step: byte for byte what is made record by record."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
import sample_messages as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.kernel import native
from usance.kernel.decider import Actor
from usance.log.contract import Output
from usance.messages import codec, frames
from usance.messages.envelope import Encoder, InputPosition, Meta
from usance.messages.outcome import Outcome

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
