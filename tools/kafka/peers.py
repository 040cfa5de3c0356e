"""The bench's simple job on peers, each as its authors show it: python peers.py NAME JSON.

`article` is the loop that this project starts from; `quix` is Quix Streams exactly-once; `aiokafka` a
transaction per batch. They run in an environment of their own (`make bench-peers`) until they are ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from usance.testing.bench_kafka_job import NEW, Standing, decide

BATCH = 1_000


def article(order: dict[str, Any]) -> None:
    """Poll one message, decide, send, flush, commit synchronously."""
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": order["bootstrap"],
            "group.id": order["group"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([order["input"]])
    producer = Producer(
        {"bootstrap.servers": order["bootstrap"], "acks": "all", "enable.idempotence": True}
    )
    states: dict[str, Standing] = {}
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        said = json.loads(message.value() or b"")
        states[said["credit"]], event = decide(states.get(said["credit"], NEW), said)
        producer.produce(
            order["output"], json.dumps(event).encode(), message.key(), message.partition() or 0
        )
        producer.flush()
        consumer.commit(message=message, asynchronous=False)


def quix(order: dict[str, Any]) -> None:
    """Run a stateful dataframe, exactly once."""
    from quixstreams import Application

    app = Application(
        broker_address=order["bootstrap"],
        consumer_group=order["group"],
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=order["commit_s"],
        state_dir=order["folder"],
        loglevel="WARNING",
    )

    def handle(said: dict[str, Any], state: Any) -> dict[str, Any]:
        known = state.get("standing")
        after, event = decide(Standing(*known) if known else NEW, said)
        state.set("standing", list(after))
        return event

    commands = app.topic(order["input"], value_deserializer="json")
    events = app.topic(order["output"], value_serializer="json")
    app.dataframe(commands).apply(handle, stateful=True).to_topic(events)
    app.run()


async def aiokafka(order: dict[str, Any]) -> None:
    """Commit a transaction per fetched batch."""
    import orjson
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    consumer = AIOKafkaConsumer(
        order["input"],
        bootstrap_servers=order["bootstrap"],
        group_id=order["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    producer = AIOKafkaProducer(
        bootstrap_servers=order["bootstrap"], transactional_id=f"{order['group']}-0"
    )
    await producer.start()
    states: dict[str, Standing] = {}
    while True:
        batch = await consumer.getmany(timeout_ms=1_000, max_records=BATCH)
        if not batch:
            continue
        async with producer.transaction():
            positions = {}
            for partition, messages in batch.items():
                for message in messages:
                    said = orjson.loads(message.value)
                    after, event = decide(states.get(said["credit"], NEW), said)
                    states[said["credit"]] = after
                    await producer.send(
                        order["output"],
                        orjson.dumps(event),
                        key=message.key,
                        partition=partition.partition,
                    )
                positions[partition] = messages[-1].offset + 1
            await producer.send_offsets_to_transaction(positions, order["group"])


def main() -> None:
    """Run the peer that the arguments name."""
    name, order = sys.argv[1], json.loads(sys.argv[2])
    if name == "aiokafka":
        asyncio.run(aiokafka(order))
    else:
        {"article": article, "quix": quix}[name](order)


if __name__ == "__main__":
    main()
