"""The client against real servers: what both dialects give, and the change that one of them loses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usance.adapters.registry_confluent import ConfluentRegistry, ConfluentSettings
from usance.kernel.errors import Conflict, Unavailable
from usance.messages.avro_schema import Schema
from usance.messages.catalogue import default
from usance.messages.registry import RegistryState, plan
from usance.testing.registry_server import JAVA_OF, RegistryServer

pytestmark = [pytest.mark.slow, pytest.mark.apicurio]

LEVEL = "FULL_TRANSITIVE"


@pytest.fixture(scope="module", params=sorted(JAVA_OF))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    made = RegistryServer(request.param, tmp_path_factory.mktemp("apicurio"))
    yield request.param, made.address
    made.close()


@pytest.fixture
def registry(server: tuple[str, str]) -> ConfluentRegistry:
    return ConfluentRegistry(ConfluentSettings(server[1]))


def schema(name: str, *fields: Any, **more: Any) -> Schema:
    return Schema(json.dumps({"type": "record", "name": name, "fields": list(fields)} | more))


A = {
    "name": "a",
    "type": "string",
    "sensitivity": "personal",
    "subject": "party",
    "retain": "record",
}
B = {"name": "b", "type": "long", "default": 0}


def test_every_schema_of_the_program_is_kept_as_it_is(registry: ConfluentRegistry) -> None:
    state = RegistryState()
    events = plan(default(), state, registry)
    for event in events:
        state.apply(event)
    assert len(state.ids()) > 200
    again = RegistryState()
    for event in plan(default(), again, registry):
        again.apply(event)
    assert again.subjects == state.subjects


def test_versions_ids_and_tags_survive_the_round_trip(registry: ConfluentRegistry) -> None:
    one, two = schema("T", A), schema("T", A, B)
    first, second = (registry.register("t-T", s, LEVEL) for s in (one, two))
    assert first != second
    assert registry.register("other-T", one, LEVEL) == first
    kept = registry.by_id(first)
    assert kept is not None and kept.root.fields[0].attributes == {
        "sensitivity": "personal",
        "subject": "party",
        "retain": "record",
    }
    assert [s.meaning for s in registry.versions("t-T").values()] == [one.meaning, two.meaning]
    assert registry.lookup("t-T", two) == second
    assert registry.lookup("t-T", schema("U")) is None
    assert registry.versions("nobody") == {}


def test_an_incompatible_version_is_refused_and_checked(registry: ConfluentRegistry) -> None:
    registry.register("t-I", schema("I", A), LEVEL)
    broken = schema("I", A, {"name": "b", "type": "long"})
    assert registry.check("t-I", broken)
    assert registry.check("t-I", schema("I", A, B)) == []
    with pytest.raises(Conflict, match="refuses"):
        registry.register("t-I", broken, LEVEL)


def test_an_id_that_is_not_there_is_the_servers_own_word(registry: ConfluentRegistry) -> None:
    assert registry.by_id(999_999) is None


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("Alias", {}, {"aliases": ["Former"]}),
        ("EnumDefault", {"type": ENUM}, {"type": ENUM | {"default": "A"}}),
    ],
)
def test_a_change_of_alias_or_enum_default_alone_is_kept_or_its_loss_is_found(
    server: tuple[str, str], registry: ConfluentRegistry, name: str, before: Any, after: Any
) -> None:
    version, _ = server

    def made(more: dict[str, Any]) -> Schema:
        field = {"name": "f", "type": more.get("type", "string")}
        return schema(name, field, **{k: v for k, v in more.items() if k == "aliases"})

    first = registry.register(f"t-{name}", made(before), LEVEL)
    if version == "3.3.3":
        with pytest.raises(Conflict, match=f"id {first}, and keeps another text"):
            registry.register(f"t-{name}", made(after), LEVEL)
    else:
        assert registry.register(f"t-{name}", made(after), LEVEL) != first


def test_a_server_that_stops_is_unavailable_and_no_unknown_id(tmp_path: Path) -> None:
    server = RegistryServer("3.0.9", tmp_path)
    registry = ConfluentRegistry(ConfluentSettings(server.address))
    given = registry.register("t-T", schema("T", A), LEVEL)
    server.close()
    with pytest.raises(Unavailable):
        registry.by_id(given)
