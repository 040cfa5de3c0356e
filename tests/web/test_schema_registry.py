"""The schema registry's interface, asked by hand and by somebody else's client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    header_schema_id_serializer,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from starlette.testclient import TestClient
from world import World

from usance.domain.facility_messages import SetFacility
from usance.engine.owner import schemas
from usance.engine.verify import verify_log
from usance.kernel.errors import Unreadable
from usance.web.app import create_app

EVENTS = "usance.trade.events"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("registry"))
    made.apply("TF26LC0001")
    yield made
    made.program.close()


def test_what_is_missing_is_told_in_the_registrys_own_codes(world: World) -> None:
    client = TestClient(create_app(world.program), base_url="http://127.0.0.1:8400")
    for path, code, status in (
        ("schemas/ids/99999", 40403, 404),
        ("subjects/nobody/versions", 40401, 404),
        (f"subjects/{EVENTS}-usance.trade.CreditApplied/versions/77", 40402, 404),
        (f"subjects/{EVENTS}-usance.trade.CreditApplied/versions/first", 42202, 422),
        (f"subjects/{EVENTS}-usance.trade.CreditApplied/versions/-2", 42202, 422),
        ("schemas/ids/abc", 404, 404),
        ("bogus", 404, 404),
        ("", 404, 404),
    ):
        answer = client.get(f"/registry/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
        assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    assert client.get("/registry/mode").json() == {"mode": "READWRITE"}
    newest = f"/registry/subjects/{EVENTS}-usance.trade.CreditApplied/versions"
    assert client.get(f"{newest}/-1").json() == client.get(f"{newest}/latest").json()


@pytest.mark.parametrize("where", ["schema", "subject"])
def test_a_card_number_is_registered_nowhere(world: World, where: str) -> None:
    client = TestClient(create_app(world.program), base_url="http://127.0.0.1:8400")
    number = "4111111111111111"
    doc = f"card {number}" if where == "schema" else "a note"
    text = f'{{"type":"record","name":"Noted","doc":"{doc}","fields":[]}}'
    subject = "noted-value" if where == "schema" else f"card {number}-value"
    answer = client.post(f"/registry/subjects/{subject}/versions", json={"schema": text})
    assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)
    assert "card number" in answer.json()["message"] and number not in answer.text
    assert number not in client.get("/registry/subjects").text


def test_an_off_the_shelf_client_reads_every_event(world: World) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(world.program), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/registry"
        with SchemaRegistryClient({"url": url}) as client:
            deserialize = AvroDeserializer(client)
            log, topics = world.program.store.log, world.program.store.topics
            context = SerializationContext(EVENTS, MessageField.VALUE)
            read = {}
            for number in range(topics.partitions):
                for record in log.scan(topics.at("trade", "events", number), 0):
                    assert record.value is not None
                    read[dict(record.headers)["ce_type"].decode()] = deserialize(
                        record.value, context
                    )
            assert len(read) >= 5
            applied = read["usance.trade.CreditApplied"]
            assert applied["terms"]["currency"] == "USD"
            subject = f"{EVENTS}-usance.trade.CreditApplied"
            assert subject in client.get_subjects()
            latest = client.get_latest_version(subject)
            assert latest.version == max(client.get_versions(subject))
            assert json.loads(latest.schema.schema_str)["name"] == "CreditApplied"
            with pytest.raises(SchemaRegistryError):
                client.get_schema(99_999)
    finally:
        server.should_exit = True
        serving.join(10)
        listener.close()


# -- registering


RECORD: dict[str, Any] = {
    "type": "record",
    "name": "bank.Note",
    "fields": [{"name": "text", "type": "string"}],
}
WIDER = RECORD | {"fields": [*RECORD["fields"], {"name": "n", "type": "long", "default": 0}]}
BROKEN = RECORD | {"fields": [*RECORD["fields"], {"name": "n", "type": "long"}]}


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the program, its parts in their threads, as `usance start` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(world.program), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    stop = threading.Event()

    def drive() -> None:
        while not stop.wait(0.02):
            world.program.drive()

    driving = threading.Thread(target=drive)
    driving.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/registry"
    finally:
        stop.set()
        driving.join(10)
        server.should_exit = True
        serving.join(10)
        listener.close()


def test_an_off_the_shelf_serializer_registers_writes_and_reads(world: World) -> None:
    with served(world) as url, SchemaRegistryClient({"url": url}) as client:
        context = SerializationContext("notes", MessageField.VALUE)
        write = AvroSerializer(client, json.dumps(RECORD))
        value = write({"text": "hello"}, context)
        assert value is not None and value[0] == 0
        given = int.from_bytes(value[1:5], "big")
        assert AvroDeserializer(client)(value, context) == {"text": "hello"}
        assert client.get_subjects().count("notes-value") == 1
        assert client.register_schema("other-value", Schema(json.dumps(RECORD), "AVRO")) == given
        second = client.register_schema("notes-value", Schema(json.dumps(WIDER), "AVRO"))
        assert second == given + 1 and client.get_versions("notes-value") == [1, 2]
        with pytest.raises(SchemaRegistryError) as refused:
            client.register_schema("notes-value", Schema(json.dumps(BROKEN), "AVRO"))
        assert refused.value.http_status_code == 409
        broken = Schema(json.dumps(BROKEN), "AVRO")
        fits = [client.test_compatibility("notes-value", broken, n) for n in (1, 2)]
        assert fits == [False, True]  # it goes with the newest, and not with every version
        assert client.get_compatibility("notes-value") == "FULL_TRANSITIVE"
        found = client.lookup_schema("notes-value", Schema(json.dumps(WIDER), "AVRO"))
        assert (found.schema_id, found.version) == (second, 2)


def test_a_command_written_by_an_off_the_shelf_serializer_has_our_id_and_our_bytes(
    world: World,
) -> None:
    entry = world.program.store.catalogue.by_class[SetFacility]
    facility = {
        "facility": "F9",
        "customer": "c",
        "currency": "USD",
        "limit": 1,
        "expiry": "2027-12-31",
        "margin_account": "A",
    }
    plain = {f.name: facility.get(f.name, f.default) for f in entry.schema.root.fields}
    with served(world) as url, SchemaRegistryClient({"url": url}) as client:
        names = {"subject.name.strategy": topic_record_subject_name_strategy}
        write = AvroSerializer(client, entry.text, conf=names)
        context = SerializationContext("usance.trade.commands", MessageField.VALUE)
        value = write(plain, context)
        assert world.program.store.decoder.value(value) == SetFacility(**facility)
        assert len(client.get_versions(f"usance.trade.commands-{entry.fullname}")) == 1


def test_a_command_whose_schema_stands_in_a_guid_header_is_read(world: World) -> None:
    store = world.program.store
    entry = store.catalogue.by_class[SetFacility]
    facility = SetFacility(
        facility="F8",
        customer="c",
        currency="USD",
        limit=1,
        expiry="2027-12-31",
        margin_account="A",
    )
    plain = {f.name: getattr(facility, f.name) for f in entry.schema.root.fields}
    with served(world) as url, SchemaRegistryClient({"url": url}) as client:
        conf = {
            "subject.name.strategy": topic_record_subject_name_strategy,
            "schema.id.serializer": header_schema_id_serializer,
        }
        write = AvroSerializer(client, entry.text, conf=conf)
        headers: list[Any] = []
        context = SerializationContext("usance.trade.commands", MessageField.VALUE, headers)
        value = write(plain, context)
    given = list(headers.items()) if isinstance(headers, dict) else list(headers)
    assert given[0][0] == "__value_schema_id" and given[0][1][0] == 1 and len(given[0][1]) == 17
    usual = [(f"h{n}", b"") for n in range(6)] + [("ce_type", entry.fullname.encode())]
    assert store.decoder.message([*usual, *given], value) == facility
    by_id = b"\x00" + store.registry.id_of(entry.schema).to_bytes(4, "big")
    assert store.decoder.message([*usual, ("__value_schema_id", by_id)], value) == facility
    for wrong in (b"\x01" + bytes(16), b"\x02" + bytes(16), b""):
        with pytest.raises(Unreadable, match="GUID"):
            store.decoder.message([*usual, ("__value_schema_id", wrong)], value)


def test_what_is_registered_stands_in_the_chained_stream_and_outlives_a_restart(
    world: World,
) -> None:
    store = world.program.store
    with served(world) as url, SchemaRegistryClient({"url": url}) as client:
        given = client.register_schema("kept-value", Schema(json.dumps(RECORD), "AVRO"))
    reports = verify_log(store.log, store.genesis.log_id, store.decoder)
    assert all(r.broken is None for r in reports)
    state = schemas.load(store.log, store.topics, store.catalogue)
    assert state.subjects["kept-value"] == {1: given}


def test_subjects_of_the_program_take_no_versions_from_outside(world: World) -> None:
    subject = f"{EVENTS}-usance.trade.CreditApplied"
    other = json.dumps(RECORD | {"name": "usance.trade.CreditApplied"})
    with served(world) as url, SchemaRegistryClient({"url": url}) as client:
        with pytest.raises(SchemaRegistryError) as refused:
            client.register_schema(subject, Schema(other, "AVRO"))
        assert refused.value.http_status_code in (409, 422)
        assert len(client.get_versions(subject)) == 1


def test_bad_schemas_levels_and_deletions_are_refused_in_the_registrys_own_codes(
    world: World,
) -> None:
    client = TestClient(create_app(world.program), base_url="http://127.0.0.1:8400")
    known = f"{EVENTS}-usance.trade.CreditApplied"
    for method, path, body, code in (
        ("POST", "subjects/x/versions", {"schema": "?"}, 42201),
        ("POST", "subjects/x/versions", {"schema": '{"type":"record"}'}, 42201),
        ("POST", "subjects/x/versions", {"schema": '"int"', "schemaType": "JSON"}, 42201),
        ("POST", "subjects/x/versions", {"schema": '"int"', "references": [{}]}, 42201),
        ("POST", "subjects/x/versions", None, 42201),
        ("POST", "subjects/x", {"schema": '"int"'}, 40401),
        ("POST", f"subjects/{known}", {"schema": '"int"'}, 40403),
        ("POST", f"compatibility/subjects/{known}/versions/99", {"schema": '"int"'}, 40402),
        ("GET", "config/nobody", None, 40408),
        ("PUT", "config/x", {"compatibility": "NONE"}, 42205),
        ("PUT", "mode", {"mode": "IMPORT"}, 42205),
        ("DELETE", "subjects/x", None, 42205),
        ("DELETE", "subjects/x/versions/1", None, 42205),
    ):
        answer = client.request(method, f"/registry/{path}", json=body)
        assert answer.json()["error_code"] == code, (path, answer.text)
        assert answer.status_code == code // 100
    verbose = client.post(
        f"/registry/compatibility/subjects/{known}/versions?verbose=true", json={"schema": '"int"'}
    ).json()
    assert verbose["is_compatible"] is False and "TYPE_MISMATCH" in verbose["messages"][0]
    assert client.get("/registry/config/nobody?defaultToGlobal=true").json() == {
        "compatibilityLevel": "FULL_TRANSITIVE"
    }
    raw = client.get(f"/registry/subjects/{known}/versions/latest/schema").json()
    assert raw["name"] == "CreditApplied"
