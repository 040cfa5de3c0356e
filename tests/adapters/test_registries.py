"""Registries beyond the log: the same ids, what is read back, and what happens while one is down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from usance.adapters.registry_confluent import ConfluentRegistry, ConfluentSettings
from usance.adapters.registry_pinned import PinnedRegistry
from usance.kernel.errors import Conflict, Refused, Unavailable, Unreadable
from usance.messages.avro_schema import Schema
from usance.messages.catalogue import default
from usance.messages.registry import RegistryState, plan
from usance.testing.registry_stand_in import StandIn


@pytest.fixture
def server() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


def registry(server: StandIn) -> ConfluentRegistry:
    return ConfluentRegistry(ConfluentSettings(server.address))


def schema(name: str = "A", **more: Any) -> Schema:
    return Schema(json.dumps({"type": "record", "name": name, "fields": []} | more))


def test_a_schema_gets_the_id_that_the_registry_gives_and_its_level(server: StandIn) -> None:
    found = registry(server)
    assert found.register("t-A", schema(), "FULL_TRANSITIVE") == 101
    assert found.register("t-A", schema(), "FULL_TRANSITIVE") == 101
    assert found.register("t-A", schema(aliases=["B"]), "FULL_TRANSITIVE") == 102
    assert server.levels == {"t-A": "FULL_TRANSITIVE"}
    assert found.lookup("t-A", schema()) == 101
    assert found.lookup("t-A", schema("C")) is None
    assert found.lookup("other", schema()) is None
    assert [s.identity for s in found.versions("t-A").values()] == [
        schema().identity,
        schema(aliases=["B"]).identity,
    ]
    assert found.versions("other") == {}
    assert found.by_id(7) is None


def test_a_change_that_the_registry_drops_is_found_by_reading_it_back() -> None:
    server = StandIn(forgetful=True)
    found = registry(server)
    found.register("t-A", schema(), "NONE")
    with pytest.raises(Conflict, match="keeps another text") as caught:
        found.register("t-A", schema(aliases=["B"]), "NONE")
    assert "another one" in caught.value.hint
    server.close()


def test_a_refusal_is_a_conflict_in_the_servers_words(server: StandIn) -> None:
    with pytest.raises(Conflict, match="incompatible"):
        registry(server).register("t-R", schema("Refused"), "FULL")


def test_a_registry_that_is_down_or_fails_is_unavailable_and_used_again_afterwards(
    server: StandIn,
) -> None:
    found = registry(server)
    assert found.by_id(7) is None
    for status in (500, 503, 401, 429):
        server.failing = status
        with pytest.raises(Unavailable) as caught:
            found.by_id(7)
        assert caught.value.hint
    server.failing = 0
    assert found.by_id(7) is None
    server.close()
    gone = ConfluentRegistry(ConfluentSettings("http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="cannot be reached"):
        gone.by_id(7)


def test_the_whole_catalogue_takes_its_ids_from_the_registry_and_the_log_keeps_them(
    server: StandIn,
) -> None:
    state = RegistryState()
    events = plan(default(), state, registry(server))
    for event in events:
        state.apply(event)
    assert min(state.ids()) == 101
    assert {i: json.loads(t) for i, t in server.texts.items()} == {
        i: state.by_id(i).schema.json for i in state.ids()
    }
    asked = len(server.asked)
    assert plan(default(), state, registry(server)) == []
    assert len(server.asked) == asked, "nothing is asked of a log that has everything"


def test_a_guid_is_asked_for_and_a_server_without_any_is_not_down(server: StandIn) -> None:
    found, guid = registry(server), UUID(int=7)
    assert found.by_guid(guid) is None
    server.guids[str(guid)] = schema().text
    kept = found.by_guid(guid)
    assert kept is not None and kept.identity == schema().identity
    server.hangs = True
    assert found.by_guid(guid) is None
    server.failing = 503
    with pytest.raises(Unavailable):
        found.by_guid(guid)


def test_a_guid_that_the_registry_gave_finds_the_recorded_schema(server: StandIn) -> None:
    state = RegistryState()
    for event in plan(default(), state, registry(server)):
        state.apply(event)
    state.beyond = registry(server)
    text = default().meta.text
    server.guids[str(UUID(int=9))] = text
    known = state.find_guid(UUID(int=9))
    assert known is not None and known.schema.text == text
    assert state.find_guid(known.schema.guid) == known
    assert state.find_guid(UUID(int=10)) is None


# -- pinned


def pins(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "pins.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def pin(number: int, spec: Schema, version: int = 1) -> dict[str, Any]:
    return {"subject": "t-A", "version": version, "id": number, "schema": spec.text}


def test_pinned_ids_are_read_and_never_added_to(tmp_path: Path) -> None:
    found = PinnedRegistry(pins(tmp_path, pin(7, schema()), pin(9, schema(doc="x"), 2)))
    assert found.register("t-A", schema(), "FULL") == 7
    assert found.lookup("t-A", schema(doc="x")) == 9
    assert list(found.versions("t-A")) == [1, 2]
    assert found.by_id(8) is None
    with pytest.raises(Refused, match="does not hold"):
        found.register("t-A", schema("B"), "FULL")
    assert found.check("t-A", schema("B")) != [] and found.check("t-A", schema()) == []


def test_a_pin_file_that_contradicts_itself_or_is_none_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="two schemas"):
        PinnedRegistry(pins(tmp_path, pin(7, schema()), pin(7, schema("B"), 2)))
    with pytest.raises(Unreadable, match="cannot be read"):
        PinnedRegistry(tmp_path / "none.json")
