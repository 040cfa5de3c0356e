"""What Confluent's client-side field encryption costs in Python; a program of its own, run by `bench secure`.

It needs `confluent-kafka[avro,rules,schemaregistry]`, which is not installed with our tools (`make bench-peers`),
and imports nothing of ours. Forty string fields, five of them tagged for encryption, against the same with none:
the difference is what encryption costs per event. Registry in memory, data key cached. Prints JSON: microseconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

FIELDS, PRIVATE, ROUNDS, REPEATS = 40, 5, 5, 400
TOPIC = "bench"
TEXT = "forty letters and a little more than that"


def schema_of(private: int) -> str:
    """Return a record of forty strings, the first few of them tagged."""
    fields: list[dict[str, Any]] = [{"name": f"f{n}", "type": "string"} for n in range(FIELDS)]
    for field in fields[:private]:
        field["confluent:tags"] = ["PII"]
    return json.dumps({"type": "record", "name": "Event", "fields": fields})


def pair(private: int) -> tuple[Any, Any, Any]:
    """Return serializer, deserializer and their context over a registry in memory."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import (
        FieldEncryptionExecutor,
    )
    from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import (
        LocalKmsDriver,
    )
    from confluent_kafka.schema_registry.schema_registry_client import (
        Rule,
        RuleKind,
        RuleMode,
        RuleParams,
        RuleSet,
        Schema,
    )
    from confluent_kafka.serialization import MessageField, SerializationContext

    LocalKmsDriver.register()
    FieldEncryptionExecutor.register()
    client = SchemaRegistryClient.new_client({"url": "mock://"})
    said = {"encrypt.kek.name": "kek", "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "k"}
    params = RuleParams(said)
    rule = Rule(
        "encrypt", "", RuleKind.TRANSFORM, RuleMode.WRITEREAD, "ENCRYPT", ["PII"], params,
        None, None, "ERROR,NONE", False,
    )  # fmt: skip
    rules = RuleSet(None, [rule]) if private else None
    schema = Schema(schema_of(private), "AVRO", [], None, rules)
    client.register_schema(f"{TOPIC}-value", schema)
    conf = {"auto.register.schemas": False, "use.latest.version": True}
    secret = {"secret": "a secret of a key service in memory"}
    write = AvroSerializer(client, None, conf=conf, rule_conf=secret)
    read = AvroDeserializer(client, rule_conf=secret)
    return write, read, SerializationContext(TOPIC, MessageField.VALUE)


def cost(private: int) -> tuple[float, float]:
    """Return the least microseconds to write and to read one event."""
    write, read, context = pair(private)
    event = {f"f{n}": TEXT for n in range(FIELDS)}
    data = write(dict(event), context)
    assert read(data, context) == event, "what was written is not what is read"
    assert data.count(TEXT.encode()) == FIELDS - private, "what is tagged is encrypted"
    return least(lambda: write(dict(event), context)), least(lambda: read(data, context))


def least(work: Any) -> float:
    """Return the least microseconds of a few rounds."""
    spans = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REPEATS):
            work()
        spans.append((time.perf_counter() - start) / REPEATS)
    return min(spans) * 1e6


def main() -> None:
    """Print what encryption of five fields adds to one event, in microseconds."""
    (bare_write, bare_read), (write, read) = cost(0), cost(PRIVATE)
    told = {"seal_us": round(write - bare_write, 1), "open_us": round(read - bare_read, 1)}
    json.dump({**told, "fields": PRIVATE}, sys.stdout)


if __name__ == "__main__":
    main()
