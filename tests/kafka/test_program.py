"""The program on a real broker: the same book as on the embedded log, and workers that die and come back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from usance import config
from usance.bootstrap.backend import open_cluster
from usance.bootstrap.book import before, play, read_book, sample_book
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, found_log
from usance.kernel.clock import SystemClock
from usance.log.contract import TopicPartition as LogPlace
from usance.testing import kafka_jars
from usance.views import PROJECTIONS
from usance.web.app import create_app

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from small_book import environment, facility_document, write_book

LOGGED = {"events", "compliance_events", "commands", "dead_letters", "letter_commands"}
"""Tables of records: with another number of partitions a record stands elsewhere, under other hashes and
ids, and what two credits do to one facility at one instant may come in another order."""
PLACES = {
    *("partition", "offset", "idx", "hash", "event_id", "command_id", "correlation", "causation"),
    *("id", "note", "letters", "hint", "revision"),
}


def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


def settings_on(kafka: str, folder: Path, **more: str) -> config.Settings:
    flags = {"log": f"kafka://{kafka}", "data": str(folder), "kafka.replication": "1", **more}
    return config.load(None, {"kafka.prefix": prefix(), **flags}, {}).settings


def usance(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "usance", *arguments],
        cwd=cwd,
        env={**environment(), "USANCE_KAFKA_REPLICATION": "1", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_small_book_has_the_same_summary_on_both_logs(kafka: str, tmp_path: Path) -> None:
    book = str(write_book(tmp_path / "book"))
    here = usance("demo", "--json", "--book", book, cwd=tmp_path)
    for profile in ("default", "secure"):
        told = ("--log", f"kafka://{kafka}", "--profile", profile)
        there = usance("demo", "--json", "--book", book, *told, cwd=tmp_path)
        assert (here.returncode, there.returncode) == (0, 0), there.stderr
        assert json.loads(here.stdout) == json.loads(there.stdout)
    left = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    assert not [name for name in left if name.startswith("usance-demo")]  # nothing is left behind


def test_an_empty_cluster_is_set_up_first(kafka: str, tmp_path: Path) -> None:
    ran = usance("status", "--log", f"kafka://{kafka}", cwd=tmp_path, USANCE_KAFKA_PREFIX=prefix())
    assert ran.returncode == 4 and "usance kafka setup" in ran.stderr


class SameIds:
    """Gives both logs one id."""

    def fresh(self) -> str:
        return "6f1c3c0e-8a57-5d0a-9d51-5c7b1f0d2a11"


def rows_of(runtime: Runtime) -> dict[str, list[str]]:
    """Return every row of every read model as text, without what says where in the log it stands."""
    found: dict[str, list[str]] = {}
    with runtime.views.reading(restricted=True) as reading:
        for projection in PROJECTIONS:
            for table in projection.tables:
                left_out = PLACES if table.name in LOGGED else set()
                rows = [
                    {k: v for k, v in r.items() if k not in left_out}
                    for r in reading.select(table.name)
                ]
                found[table.name] = sorted(json.dumps(r, sort_keys=True, default=str) for r in rows)
    return found


@pytest.mark.slow
def test_the_sample_book_gives_the_same_read_models_on_both_logs(
    kafka: str, tmp_path: Path
) -> None:
    book = read_book(sample_book())
    played: list[dict[str, list[str]]] = []
    for name in ("embedded", "cluster"):
        folder = Folder(tmp_path / name)
        if name == "cluster":
            settings = settings_on(kafka, folder.root, partitions="12")
        else:
            settings = config.load(None, {"data": str(folder.root)}, {}).settings
        found_log(folder, settings, before(book), SameIds())  # ids are made of the log's
        runtime = Runtime(folder, settings, before(book))
        try:
            play(runtime, book)
            assert runtime.projector.idle()
            played.append(rows_of(runtime))
        finally:
            runtime.close()
    here, there = played
    assert sum(map(len, here.values())) > 1_000
    unlike = {
        t: (set(here[t]) - set(there[t]), set(there[t]) - set(here[t]))
        for t in here
        if here[t] != there[t]
    }
    assert unlike == {}


OWNED = 3 * 4 + 1
"""Partitions of three contexts, and the one of access records."""


class Workers:
    """`usance start --workers 2` on a cluster, with its health addresses."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            **environment(),
            "USANCE_KAFKA_REPLICATION": "1",
            "USANCE_KAFKA_PREFIX": prefix(),
            "USANCE_DATA": str(folder / "data"),
            "USANCE_LOG": f"kafka://{kafka}",
        }
        self.port = free_pair()
        self.say("kafka", "setup", "--partitions", "4")
        self.out = (folder / "out").open("w")
        self.child = subprocess.Popen(
            [sys.executable, "-m", "usance", "start", "--workers", "2", "--port", str(self.port)],
            cwd=folder,
            env=self.environ,
            stdout=self.out,
            stderr=self.out,
        )

    def say(self, *words: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "usance", *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def health(self, number: int) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port + number}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            return {}

    def wait(self, held: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not held():
            assert time.monotonic() < deadline, (self.folder / "out").read_text()
            time.sleep(0.1)

    def partitions(self) -> list[int]:
        return [self.health(n).get("owner", {}).get("partitions", 0) for n in (0, 1)]

    def post(self, facility: str, key: str) -> Any:
        document = facility_document(facility)
        body = {k: v for k, v in document.items() if k not in ("type", "id", "as", "role")}
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/commands/SetFacility",
            data=json.dumps(body).encode(),
            headers={
                "content-type": "application/json",
                "Idempotency-Key": key,
                "Usance-As": "dev.raghavan:senior_checker",
            },
        )
        for _ in range(
            6
        ):  # while a dead worker's partition is taken over, the answer is still to come
            with urllib.request.urlopen(asked, timeout=40) as answer:
                said = json.loads(answer.read())
            if said["outcome"] != "pending":
                break
        return said

    def pid(self, number: int) -> int:
        told = [
            json.loads(x) for x in (self.folder / "out").read_text().splitlines() if x[:1] == "{"
        ]
        started = [
            x["pid"]
            for x in told
            if x.get("event") == "worker_started" and x["part"] == f"worker {number}"
        ]
        return int(started[-1])

    def close(self) -> int:
        self.child.terminate()
        try:
            return self.child.wait(40)
        finally:
            self.child.kill()
            self.out.close()


def free_pair() -> int:
    """Return a port that is free, as is the next one."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def test_two_workers_share_the_book_and_one_that_is_killed_comes_back(
    kafka: str, tmp_path: Path
) -> None:
    workers = Workers(kafka, tmp_path)
    try:
        workers.wait(lambda: min(workers.partitions()) > 0 and sum(workers.partitions()) == OWNED)
        first = [workers.post(f"FAC-{n}", f"k{n}") for n in range(12)]
        assert {a["outcome"] for a in first} == {"accepted"}
        victim = workers.pid(1)
        os.kill(victim, signal.SIGKILL)
        after = [workers.post(f"FAC-{n}", f"k{n}") for n in range(6, 18)]
        assert after[:6] == first[6:]  # the same key, the same answer
        assert {a["outcome"] for a in after} == {"accepted"}
        workers.wait(lambda: min(workers.partitions()) > 0 and sum(workers.partitions()) == OWNED)
        assert workers.pid(1) != victim
        found = json.loads(workers.say("status", "--output", "json"))
        assert found["events_by_type"]["FacilitySet"] == 18
        assert found["chain_verified"] is True
    finally:
        code = workers.close()
    assert code == 0


def test_others_read_the_events_with_tools_of_their_own(kafka: str, tmp_path: Path) -> None:
    book = read_book(write_book(tmp_path / "book"))
    settings = settings_on(kafka, tmp_path / "data", partitions="1")
    topic = f"{settings.kafka.prefix}usance.trade.events"
    folder = Folder(tmp_path / "data")
    found_log(folder, settings, before(book))
    runtime = Runtime(folder, settings, before(book))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(runtime), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    try:
        play(runtime, book)
        serving.start()
        read = console_consumer(kafka, topic, 3)
        assert "FAC-QUI" in read and "usance.trade.FacilitySet" in read
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/registry"
        found = deserialized(kafka, topic, address)
        kinds = [kind.rpartition(".")[2] for kind, _ in found]
        assert kinds[0] == "FacilitySet" and "CreditApplied" in kinds
        assert found[0][1]["limit"] == 500_000_000
    finally:
        server.should_exit = True
        serving.join(10)
        listener.close()
        runtime.close()


def test_an_open_transaction_of_others_is_seen_as_a_gap(kafka: str, tmp_path: Path) -> None:
    settings = settings_on(kafka, tmp_path, partitions="1")
    found_log(Folder(tmp_path), settings, SystemClock())
    log = open_cluster(settings)
    place = LogPlace("usance.trade.commands", 0)
    foreign = Producer({"bootstrap.servers": kafka, "transactional.id": f"foreign-{prefix()}"})
    try:
        assert log.stable_gaps([place]) == {place: 0}
        foreign.init_transactions(20)
        foreign.begin_transaction()
        foreign.produce(settings.kafka.prefix + place.topic, b"never ended", partition=0)
        foreign.flush(20)
        assert log.stable_gaps([place]) == {place: 1}
        assert log.retired() == 0
        foreign.abort_transaction(20)
    finally:
        log.close()


def console_consumer(kafka: str, topic: str, count: int) -> str:
    """Return what Kafka's own console consumer prints of the first records."""
    ran = subprocess.run(
        [
            *(kafka_jars.java(), "-cp", kafka_jars.class_path()),
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            *("--bootstrap-server", kafka, "--topic", topic, "--from-beginning"),
            *("--max-messages", str(count), "--timeout-ms", "20000"),
            *("--formatter-property", "print.headers=true"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def deserialized(kafka: str, topic: str, registry: str) -> list[tuple[str, Any]]:
    """Return type and fields of every event, as confluent-kafka's own Avro deserializer reads them."""
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": f"reader-{topic}", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[str, Any]] = []
    with SchemaRegistryClient({"url": registry}) as client:
        deserialize = AvroDeserializer(client)
        while (message := consumer.poll(20)) is not None and message.error() is None:
            kind = dict(message.headers() or ())["ce_type"].decode()
            context = SerializationContext(topic, MessageField.VALUE)
            found.append((kind, deserialize(message.value(), context)))
    consumer.close()
    return found
