"""Older versions: resolution first, upcasters second, and the same errors as everything else."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import msgspec
import pytest

from usance.kernel.errors import Unreadable
from usance.messages import avro
from usance.messages.catalogue import Catalogue
from usance.messages.envelope import Decoder
from usance.messages.registry import registered


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """A message that grew."""

    a: str
    b: str


def version(*fields: dict[str, Any]) -> str:
    return json.dumps({"type": "record", "name": "usance.trade.Grown", "fields": list(fields)})


V1 = version({"name": "a", "type": "string"})
V2 = version({"name": "a", "type": "string"}, {"name": "b", "type": "string", "default": "none"})


@pytest.fixture(autouse=True, scope="module")
def codec_in_turn(each_codec: str) -> None:
    """Do everything with one codec, then with the other."""
    avro.plain_reader.cache_clear()
    avro.plain_writer.cache_clear()


def decoder() -> tuple[Decoder, bytes]:
    """Return a decoder of today's version, and the framing of version 1."""
    catalogue = Catalogue({"usance.trade.Grown": {1: V1, 2: V2}})
    catalogue.register(((Grown, "event"),))
    state = registered(catalogue)
    old = state.versions("usance.trade.events-usance.trade.Grown")[0]
    made = Decoder(catalogue=catalogue, registry=state)
    return made, b"\x00" + state.id_of(old).to_bytes(4, "big")


def body(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(V1)), record)
    return out.getvalue()


def test_an_old_record_is_resolved_with_the_defaults_of_the_newest_schema() -> None:
    made, frame = decoder()
    assert made.value(frame + body({"a": "x"})) == Grown(a="x", b="none")


def test_upcasters_see_the_resolved_record_and_have_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(avro.UPCASTERS, "_steps", {})
    avro.UPCASTERS.add("usance.trade.Grown", 1, lambda r: r | {"b": r["a"] + r["b"]})
    made, frame = decoder()
    assert made.value(frame + body({"a": "x"})) == Grown(a="x", b="xnone")


def test_an_upcaster_that_breaks_the_schema_makes_the_record_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(avro.UPCASTERS, "_steps", {})
    avro.UPCASTERS.add("usance.trade.Grown", 1, lambda r: r | {"b": None})
    made, frame = decoder()
    with pytest.raises(Unreadable):
        made.value(frame + body({"a": "x"}))


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x80\x80\x80\x80\x40", b"\x02\xff", b"\x02aa"])
def test_damaged_old_records_are_unreadable_like_new_ones(damage: bytes) -> None:
    made, frame = decoder()
    with pytest.raises(Unreadable):
        made.value(frame + damage)
