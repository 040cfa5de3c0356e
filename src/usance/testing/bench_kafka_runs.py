"""One run of the Kafka bench: topics of its own, a backlog or open-loop arrivals, one runner, one reader.

A runner is a process: ours, or a peer where `make bench-peers` has installed it. Nothing is measured inside
it; rates and times are those at which a separate reader could see the events.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from usance.adapters.kafka_log import KafkaLog
from usance.engine.topics import Topics
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable
from usance.kernel.ids import RandomIds
from usance.testing import bench_kafka_job as job
from usance.testing.bench_kafka_count import Counted, Rates, Sight, count, rates
from usance.testing.bench_kafka_worker import JOB_GROUP, NAMESPACE, Order, open_log
from usance.testing.bench_rig import Mismatch, at_share
from usance.testing.kafka_jars import java

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
PROGRAM = ROOT / "tools" / "kafka" / "peers.py"
PARTITIONS = 4
READY_S = 60.0
STOP_S = 20.0
LATE_MS = 1.0
"""How late a generator may be (99 of 100) for its latencies to count."""
LINGER_ABOVE = 2_000.0
JOB_KINDS = ("commands", "events", "outcomes", "parked", "dead-letters", "snapshots", "attempts")


class Runner(NamedTuple):
    """Who does the job, and how: `options` are the peer's, `orders` the changes to our own order."""

    peer: str
    mode: str
    options: Mapping[str, Any] = {}
    processes: int = 1


class Stage(NamedTuple):
    """Where runs take place."""

    bootstrap: str
    folder: Path
    clock: Clock
    broker_pid: int
    seed: int


class Usage(NamedTuple):
    """Processor seconds and memory of processes (Linux)."""

    seconds: float
    rss_mb: float


def usage(pids: list[int]) -> Usage:
    """Return what processes have used up to now; zeros where the system does not say."""
    ticks, peak = 0.0, 0.0
    for pid in pids:
        with suppress(OSError, StopIteration):
            words = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
            lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
            peak += int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1024
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), peak)


def installed(peer: str) -> bool:
    """Tell whether a peer can be run here."""
    if peer in ("usance", "article"):
        return PROGRAM.exists()
    if peer == "streams":
        return (PEERS / "classes" / "Job.class").exists()
    names = {"quix": "quixstreams", "aiokafka": "aiokafka"}
    return any(PEERS.glob(f"lib/python*/site-packages/{names[peer]}"))


# -- topics


class Topic(NamedTuple):
    """The topics of a run, and who ends it."""

    prefix: str
    input: str
    output: str
    group: str
    log_id: str


@contextmanager
def topics_of(stage: Stage, runner: Runner) -> Iterator[Topic]:
    """Make a run's topics, and delete them after it."""
    prefix = f"b{RandomIds().fresh()[-10:]}-"
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    if runner.peer != "usance":
        made = Topic(prefix, f"{prefix}in", f"{prefix}out", f"{prefix}group", "")
        new = [NewTopic(t, PARTITIONS, 1) for t in (made.input, made.output)]
        for future in admin.create_topics(new).values():
            future.result(READY_S)
    else:
        made = _our_topics(stage, runner, prefix)
    try:
        yield made
    finally:
        names = [n for n in admin.list_topics(timeout=READY_S).topics if prefix in n]
        for future in admin.delete_topics(names).values() if names else ():
            with suppress(KafkaException):
                future.result(READY_S)


def _our_topics(stage: Stage, runner: Runner, prefix: str) -> Topic:
    topics = Topics(NAMESPACE, PARTITIONS)
    flush = bool(runner.options.get("flush", False))
    log = open_log(order_of(stage, prefix, "", flush=flush))
    try:
        wanted = {topics.name("trade", kind) for kind in JOB_KINDS}
        for settings in topics.settings():
            if settings.name in wanted:
                log.create_topic(settings)
        places = [topics.at("trade", "commands", p) for p in range(PARTITIONS)]
        log.set_positions(JOB_GROUP, dict.fromkeys(places, 0))
    finally:
        log.close()
    names = [prefix + topics.name("trade", kind) for kind in ("commands", "outcomes")]
    return Topic(prefix, names[0], names[1], prefix + JOB_GROUP, RandomIds().fresh())


def order_of(stage: Stage, prefix: str, log_id: str, **more: Any) -> Order:
    """Return what one of our workers is told."""
    said = {"mode": "job", "partitions": PARTITIONS, "holds": PARTITIONS, **more}
    return Order(bootstrap=stage.bootstrap, prefix=prefix, log_id=log_id, **said)


# -- processes


class Running:
    """The processes of a runner."""

    def __init__(self, commands: list[list[str]], *, speaks: bool, folder: Path) -> None:
        path = os.pathsep.join([str(ROOT / "src"), *(p for p in sys.path if "site-packages" in p)])
        self.speaks = speaks
        self.stderr = folder / "stderr.log"
        with self.stderr.open("a") as stderr:
            self.children = [
                subprocess.Popen(  # noqa: S603  our own programs
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if speaks else subprocess.DEVNULL,
                    stderr=stderr,
                    text=True,
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": path if speaks else str(ROOT / "src")},
                )
                for words in commands
            ]

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [child.pid for child in self.children]

    def ready(self) -> None:
        """Wait until each of ours holds its partitions."""
        for child in self.children if self.speaks else ():
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise Unavailable(f"a worker ended: {self.words()}", hint=f"Read {self.stderr}.")

    def go(self) -> None:
        """Let them begin."""
        for child in self.children if self.speaks else ():
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()

    def alive(self) -> None:
        """Raise Unavailable when one has ended."""
        if any(child.poll() is not None for child in self.children):
            raise Unavailable(f"a runner ended: {self.words()}", hint=f"Read {self.stderr}.")

    def words(self) -> str:
        """Return the end of what they wrote to stderr."""
        return self.stderr.read_text("utf-8")[-1_000:]

    def end(self) -> list[dict[str, float]]:
        """End them in order; returns what ours saw of themselves."""
        said = []
        for child in self.children:
            try:
                if self.speaks:
                    out, _ = child.communicate(timeout=STOP_S)
                    said.append(msgspec.json.decode(out or "{}", type=dict[str, float]))
                else:
                    child.terminate()
                    child.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
        return said

    def kill(self) -> None:
        """End them at once."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()


def _commands(stage: Stage, runner: Runner, made: Topic) -> list[list[str]]:
    if runner.peer == "usance":
        each = PARTITIONS // runner.processes
        return [
            [
                sys.executable,
                "-m",
                "usance.testing.bench_kafka_worker",
                msgspec.json.encode(
                    order_of(
                        stage, made.prefix, made.log_id,
                        **{"holds": each, "slot": f"s{n}", **runner.options},
                    )
                ).decode(),
            ]
            for n in range(runner.processes)
        ]  # fmt: skip
    state = str(stage.folder / made.group)
    if runner.peer == "streams":
        jars = f"{PEERS / 'jars'}/*{os.pathsep}{PEERS / 'classes'}"
        commit = str(runner.options.get("commit_ms", 0))
        arguments = [stage.bootstrap, made.group, made.input, made.output, commit, state]
        return [[java(), "-Xmx512m", "-cp", jars, "Job", *arguments]]
    order = {
        "bootstrap": stage.bootstrap, "group": made.group, "input": made.input,
        "output": made.output, "folder": state, **runner.options,
    }  # fmt: skip
    python = sys.executable if runner.peer == "article" else str(PEERS / "bin" / "python")
    return [[python, str(PROGRAM), runner.peer, json.dumps(order)]]


# -- feeding


def preload(stage: Stage, topic: str, number: int) -> None:
    """Write so many commands, those of the seed."""
    producer = Producer(
        {
            "bootstrap.servers": stage.bootstrap,
            "linger.ms": 20,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 100_000,
        }
    )
    encode = msgspec.json.Encoder().encode
    for n, said in enumerate(job.commands(number, stage.seed)):
        row = (topic, encode(said), said["credit"].encode(), job.partition_of(n, PARTITIONS))
        while True:
            try:
                producer.produce(*row)
                break
            except BufferError:
                producer.poll(0.05)
        if n % 5_000 == 0:
            producer.poll(0)
    producer.flush()


class Generator(threading.Thread):
    """Sends commands at seeded random times, and keeps when each was meant to be sent."""

    def __init__(self, stage: Stage, topic: str, number: int, rate: float) -> None:
        super().__init__(name="generator", daemon=True)
        encode = msgspec.json.Encoder().encode
        self.rows = [
            (topic, encode(said), said["credit"].encode(), job.partition_of(n, PARTITIONS))
            for n, said in enumerate(job.commands(number, stage.seed))
        ]
        dice = random.Random(stage.seed)  # noqa: S311  arrival times
        self.intended: list[float] = []
        at = 0.0
        for _ in self.rows:
            at += dice.expovariate(rate)
            self.intended.append(at)
        self.late: list[float] = []
        self.clock = stage.clock
        self.start_at = 0.0
        self.producer = Producer(
            {
                "bootstrap.servers": stage.bootstrap,
                "linger.ms": 1 if rate > LINGER_ABOVE else 0,
                "enable.idempotence": True,
            }
        )
        self.producer.list_topics(topic, timeout=READY_S)

    def run(self) -> None:
        """Send everything at its time."""
        self.start_at = start = self.clock.monotonic() + 0.05
        for at, row in zip(self.intended, self.rows, strict=True):
            now = self.clock.monotonic()
            if start + at > now:
                self.clock.sleep(start + at - now)
                now = self.clock.monotonic()
            self.late.append(now - start - at)
            self.producer.produce(*row)
            self.producer.poll(0)
        self.producer.flush()


# -- the two kinds of runs

Tamper = Callable[[str], None]


def saturate(
    stage: Stage, runner: Runner, number: int, seconds: float, tamper: Tamper | None = None
) -> dict[str, Any]:
    """Work a backlog off; raises Mismatch where the reader does not find each event once.

    `tamper` is called with the output topic when the runner has ended, before the last look: a test's hand.
    """
    with topics_of(stage, runner) as made:
        preload(stage, made.input, number)
        sight = Sight({"bootstrap.servers": stage.bootstrap}, made.output, PARTITIONS, stage.clock)
        running = Running(
            _commands(stage, runner, made), speaks=runner.peer == "usance", folder=stage.folder
        )
        try:
            running.ready()
            running.go()
            while not sight.look(0.05):
                running.alive()
            before, broker = usage(running.pids), usage([stage.broker_pid])
            mine = usage([os.getpid()])
            first = sight.total
            if tamper is not None:
                tamper(made.output)
            sight.until(number, seconds)
            last = sight.batches[-1][0]
            after, broken = usage(running.pids), usage([stage.broker_pid])
            reader = usage([os.getpid()]).seconds - mine.seconds
            said = running.end()
            positions = _positions(stage, made, runner)
        finally:
            running.kill()
            sight.close()
        found = count(job.expected(number), ((k, v) for _, k, v, _ in sight.events()))
        _whole(runner, found, number, positions)
        speed = rates([(when, len(messages)) for when, messages in sight.batches])
        span = last - sight.batches[0][0]
        # As with the rates: a job that was over at the reader's first look has none.
        shares = {
            "broker_cores": round((broken.seconds - broker.seconds) / span, 2) if span else 0.0,
            "reader_cores": round(reader / span, 2) if span else 0.0,
        }
        spent = after.seconds - before.seconds
        return _told(runner, found, speed) | shares | {
            "cpu_us_per_event": round(spent / (number - first) * 1e6, 1) if span else 0.0,
            "broker_cpu_us_per_event": round(
                (broken.seconds - broker.seconds) / (number - first) * 1e6, 1
            )
            if span
            else 0.0,
            "rss_mb": round(after.rss_mb),
            "units": _units(said),
            "box_bound": sum(shares.values()) > 0.8 * (os.cpu_count() or 1),
        }  # fmt: skip


def open_loop(
    stage: Stage, runner: Runner, rate: float, warm: float, seconds: float
) -> dict[str, Any]:
    """Let commands arrive at `rate` per second; times run from the intended send to the reader's sight."""
    number = max(60, int(rate * (warm + seconds)))
    with topics_of(stage, runner) as made:
        generator = Generator(stage, made.input, number, rate)
        sight = Sight({"bootstrap.servers": stage.bootstrap}, made.output, PARTITIONS, stage.clock)
        running = Running(
            _commands(stage, runner, made), speaks=runner.peer == "usance", folder=stage.folder
        )
        try:
            running.ready()
            running.go()
            if not running.speaks:
                _settle(stage, running)
            before, start = usage(running.pids), stage.clock.monotonic()
            generator.start()
            sight.until(number, warm + seconds + READY_S / 2)
            after = usage(running.pids)
            generator.join()
            took = stage.clock.monotonic() - start
            said = running.end()
            positions = _positions(stage, made, runner)
        finally:
            running.kill()
            sight.close()
        rows = sight.events()
        found = count(job.expected(number), ((k, v) for _, k, v, _ in rows))
        _whole(runner, found, number, positions)
        meant = [generator.start_at + at for at in generator.intended]
        skip = sum(at < warm for at in generator.intended)
        numbers = ((int(name.rpartition("-")[2]), when) for when, _, _, name in rows)
        times = sorted((when - meant[n]) * 1e3 for n, when in numbers if n >= skip)
        late = at_share(sorted(generator.late[skip:]), 0.99) * 1e3
        return _told(runner, found, Rates(rate, rate, took)) | {
            "rate": rate,
            "p50_ms": round(at_share(times, 0.5), 1),
            "p99_ms": round(at_share(times, 0.99), 1),
            "max_ms": round(times[-1], 1),
            "samples": len(times),
            "units": _units(said),
            "generator_late_p99_ms": round(late, 2),
            "generator_in_time": late <= LATE_MS,
            "cpu_us_per_event": round((after.seconds - before.seconds) / number * 1e6, 1),
            "rss_mb": round(after.rss_mb),
        }


def _units(said: Sequence[Mapping[str, float]]) -> int | None:
    return int(sum(one.get("units", 0) for one in said)) or None


def _settle(stage: Stage, running: Running) -> None:
    """Give a peer the time that it takes to join: nothing tells from outside when it has."""
    for _ in range(50):
        running.alive()
        stage.clock.sleep(0.1)


def _positions(stage: Stage, made: Topic, runner: Runner) -> int:
    """Return how far the group has read, over all partitions, markers not counted: the input has none."""
    if runner.peer == "usance":
        log: KafkaLog = open_log(order_of(stage, made.prefix, ""))
        try:
            topics = Topics(NAMESPACE, PARTITIONS)
            places = [topics.at("trade", "commands", p) for p in range(PARTITIONS)]
            return sum(log.position(JOB_GROUP, tp) or 0 for tp in places)
        finally:
            log.close()
    from confluent_kafka import Consumer
    from confluent_kafka import TopicPartition as Place

    consumer = Consumer({"bootstrap.servers": stage.bootstrap, "group.id": made.group})
    try:
        asked = [Place(made.input, p) for p in range(PARTITIONS)]
        found = consumer.committed(asked, timeout=READY_S)
        return sum(max(0, place.offset) for place in found)
    finally:
        consumer.close()


def _whole(runner: Runner, found: Counted, number: int, positions: int) -> None:
    if not found.whole:
        raise Mismatch(f"{runner.peer} ({runner.mode}): {found}", hint="There are no numbers.")
    if positions != number:
        raise Mismatch(
            f"{runner.peer} ({runner.mode}) has committed {positions} of {number} positions",
            hint="There are no numbers.",
        )


def _told(runner: Runner, found: Counted, speed: Rates) -> dict[str, Any]:
    return {
        "peer": runner.peer,
        "mode": runner.mode,
        "rate": round(speed.rate),
        "second_half_rate": round(speed.second_half),
        "seconds": round(speed.seconds, 2),
        "p50_ms": None,
        "p99_ms": None,
        "counted": found.counted,
        "duplicates": found.duplicates,
        "missing": found.missing,
    }
