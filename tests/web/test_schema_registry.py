"""The schema registry's reading interface, asked by hand and by somebody else's client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from starlette.testclient import TestClient
from world import World

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
    ):
        answer = client.get(f"/registry/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
        assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    assert client.get("/registry/mode").json() == {"mode": "READONLY"}
    assert client.post("/registry/subjects/x/versions", json={}).status_code in (404, 405)


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
