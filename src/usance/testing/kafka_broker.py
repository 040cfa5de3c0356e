"""Apache Kafka on this machine, for tests and for trying things out: one broker, or several as a cluster.

Each broker is a process of its own with data in a folder that goes away with it; all ends when the process
that started it ends, however that happens. `python -m usance.testing.kafka_broker` runs one in the foreground.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Unavailable
from usance.testing.kafka_jars import archive, class_path, java
from usance.testing.kafka_realm import Realm
from usance.testing.tcp_proxy import TcpProxy

HOST = "127.0.0.1"
READY_S = 90.0
STOP_S = 30.0
LEADER_S = 30.0
TAIL_LINES = 25
FENCE_S = 1.5
"""How long after a broker's session its controller may still believe in it."""
APART = 100
"""Number of the controller that is a process of its own."""
HEAP = "400m"
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
"""For a machine with few cores, where a broker lives for seconds or minutes."""
JVM_BENCH = ("-XX:+UseG1GC", "-Djava.awt.headless=true")
"""For measuring: all of the compiler."""

SETTINGS = {
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.coordinator.append.linger.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "offsets.retention.minutes": "43200",
    "transaction.state.log.num.partitions": "4",
    "message.max.bytes": "8388608",
    "replica.fetch.max.bytes": "8388608",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.index.size.max.bytes": "1048576",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}
"""What every broker here is told, unless the caller says otherwise."""

LOGGING = """\
status = error
name = broker
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaServer
logger.server.level = info
"""


class KafkaNode:
    """One broker: started, stopped, killed, paused and resumed; its log is in `log_file`."""

    def __init__(
        self, number: int, folder: Path, ports: Mapping[str, int], jvm: Sequence[str]
    ) -> None:
        self.number = number
        self.folder = folder
        self.ports = ports
        self.jvm = jvm
        self.pid = 0
        self.proxy: TcpProxy | None = None
        self.log_file = folder / "broker.log"
        self._tether: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Where clients reach it: through the proxy if there is one."""
        port = self.ports["CLIENT"] if self.proxy is None else self.proxy.port
        return f"{HOST}:{port}"

    @property
    def properties(self) -> Path:
        """The file with its settings."""
        return self.folder / "server.properties"

    def running(self) -> bool:
        """Tell whether its process lives (a paused one does)."""
        return self._tether is not None and self._tether.poll() is None

    def start(self) -> None:
        """Start its process; does not wait until it answers."""
        assert not self.running(), f"broker {self.number} runs"
        command = [
            java(), *self.jvm, *_logging(self.folder),
            "-cp", class_path(), "kafka.Kafka", str(self.properties),
        ]  # fmt: skip
        self._tether = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")),
             str(self.log_file), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._tether.stdout is not None
        self.pid = int(self._tether.stdout.readline())

    def stop(self) -> None:
        """Ask it to end in order, handing its partitions over; kills it when it takes too long."""
        self._signal("TERM")
        try:
            self._reap(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it without a word (SIGKILL), and wait until it is gone."""
        self._signal("KILL")
        self._reap(STOP_S)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay, nothing is answered."""
        self._signal("STOP")

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal("CONT")

    def restart(self) -> None:
        """Stop it in order and start it again on the same ports and data."""
        if self.running():
            self.stop()
        self.start()

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def _signal(self, word: str) -> None:
        if not self.running():
            return
        assert self._tether is not None and self._tether.stdin is not None
        assert self._tether.stdout is not None
        try:
            self._tether.stdin.write(word + "\n")
            self._tether.stdin.flush()
            self._tether.stdout.readline()
        except BrokenPipeError:
            pass  # it ended by itself a moment ago

    def _reap(self, seconds: float) -> None:
        tether = self._tether
        if tether is None:
            return
        tether.wait(seconds)
        assert tether.stdin is not None and tether.stdout is not None
        tether.stdin.close()
        tether.stdout.close()
        self._tether = None


class KafkaCluster:
    """One broker or several, formatted and ready after `start`; a context that removes its data.

    With three, topics are replicated threefold with `min.insync.replicas=2`. `proxied` puts a proxy before
    each broker that clients are told to use: `nodes[0].proxy`. `settings` go over those of this module;
    None takes one out. `realm` asks clients who they are. `apart` gives the cluster a controller in a process of
    its own, which outlives brokers. `archiving` writes a class archive there when a broker ends in order.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        folder: Path | None = None,
        settings: Mapping[str, str | None] | None = None,
        proxied: bool = False,
        realm: Realm | None = None,
        apart: bool = False,
        heap: str = HEAP,
        jvm: Sequence[str] = JVM,
        archiving: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        classes = f"-XX:ArchiveClassesAtExit={archiving}" if archiving else None
        self._mapped = () if classes else _mapped()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="usance-kafka-"))
        self.clock = clock or SystemClock()
        self.proxied = proxied
        self.realm = realm
        self.cluster_id = _cluster_id(self.folder)
        self._settings = dict(settings or {})
        names = ("CLIENT", "INTERNAL", "CONTROLLER", *(["MTLS"] if realm else []))
        each = len(names)
        ports = free_ports(each * brokers + apart)
        options = (f"-Xmx{heap}", *jvm, *([classes] if classes else self._mapped))
        self.nodes = [
            KafkaNode(
                n + 1,
                self.folder / f"broker-{n + 1}",
                dict(zip(names, ports[each * n : each * (n + 1)], strict=True)),
                options,
            )
            for n in range(brokers)
        ]
        self.controller: KafkaNode | None = None
        if apart:
            own = {"CONTROLLER": ports[-1]}
            self.controller = KafkaNode(APART, self.folder / "controller", own, options)

    def __enter__(self) -> Self:
        """Start and wait until it answers."""
        try:
            self.start()
        except BaseException:
            self.close(keep=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the brokers; their logs stay when an exception passes by."""
        self.close(keep=kind is not None)

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, as `bootstrap.servers` takes them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def _all(self) -> list[KafkaNode]:
        return [*([self.controller] if self.controller else []), *self.nodes]

    def start(self) -> None:
        """Format the data folders, start every broker, and wait until all answer."""
        for node in self._all:
            node.folder.mkdir(parents=True, exist_ok=True)
            if self.proxied and node.proxy is None and node is not self.controller:
                node.proxy = TcpProxy(node.ports["CLIENT"])
            text = "".join(f"{k}={v}\n" for k, v in self._properties(node).items())
            node.properties.write_text(text, encoding="utf-8")
            (node.folder / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
        self._format([n for n in self._all if not (n.folder / "data").exists()])
        for node in self._all:
            node.start()
        self.wait_ready()

    def fence_s(self) -> float:
        """Return how long a broker must be away until its controller has taken it out, in seconds."""
        told = {**SETTINGS, **self._settings}["broker.session.timeout.ms"]
        return int(told or 9_000) / 1000 + FENCE_S

    def wait_ready(self, seconds: float = READY_S) -> None:
        """Wait until every running broker is in the metadata that one of them returns.

        Raises Unavailable with the end of its log when one has ended or time is up.
        """
        awaited = [node for node in self.nodes if node.running()]
        until = self.clock.monotonic() + seconds
        admin = self.admin()
        while True:
            for node in awaited:
                if not node.running():
                    raise Unavailable(
                        f"broker {node.number} ended: {node.log_tail()}",
                        hint=f"Its log is {node.log_file}.",
                    )
            try:
                if len(admin.list_topics(timeout=2.0).brokers) >= len(awaited):
                    return
            except KafkaException:
                pass  # not listening yet
            if self.clock.monotonic() > until:
                raise Unavailable(
                    f"no broker answered within {seconds:.0f} s: {awaited[0].log_tail()}",
                    hint=f"Logs are below {self.folder}.",
                )
            self.clock.sleep(0.05)

    def admin(self) -> AdminClient:
        """Return an administration client that keeps quiet about brokers that are down."""
        return AdminClient(self.client())

    def client(self, **settings: Any) -> dict[str, Any]:
        """Return what a client of this cluster is told, with more settings."""
        return {
            "bootstrap.servers": self.bootstrap,
            "broker.address.family": "v4",
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
            "error_cb": _ignore,
            **(self.realm.scram() if self.realm else {}),
            **{name.replace("_", "."): value for name, value in settings.items()},
        }

    def leader(self, topic: str, partition: int = 0) -> KafkaNode:
        """Return the broker that leads a partition, waiting while it has none."""
        return self.nodes[self._leaders(topic)[partition] - 1]

    def coordinator(self, name: str, *, transactions: bool = False) -> KafkaNode:
        """Return the broker that coordinates a group that was used, or a transactional id."""
        topic = "__transaction_state" if transactions else "__consumer_offsets"
        leaders = self._leaders(topic)
        return self.nodes[leaders[_java_hash(name) % len(leaders)] - 1]

    def _leaders(self, topic: str) -> list[int]:
        until = self.clock.monotonic() + LEADER_S
        admin = self.admin()
        while self.clock.monotonic() < until:
            found = admin.list_topics(topic, timeout=10.0).topics[topic].partitions
            leaders = [found[number].leader for number in sorted(found)]
            if leaders and min(leaders) > 0:
                return leaders
            self.clock.sleep(0.1)
        raise Unavailable(
            f"{topic} is missing, or has a partition without a leader",
            hint="Was it created, and is a replica of each partition running?",
        )

    def close(self, *, keep: bool = False) -> None:
        """Kill what runs and remove the data; `keep` leaves the logs and says where."""
        for node in self._all:
            node.kill()
            if node.proxy is not None:
                node.proxy.close()
        if keep:
            for node in self._all:
                shutil.rmtree(node.folder / "data", ignore_errors=True)
            sys.stderr.write(f"the brokers' logs are kept in {self.folder}\n")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _properties(self, node: KafkaNode) -> dict[str, str]:
        copies = min(3, len(self.nodes))
        voting = [self.controller] if self.controller else self.nodes
        voters = ",".join(f"{n.number}@{HOST}:{n.ports['CONTROLLER']}" for n in voting)
        found: dict[str, str | None] = {
            "node.id": str(node.number),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            **self._role(node),
            "log.dirs": str(node.folder / "data"),
            "default.replication.factor": str(copies),
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            "share.coordinator.state.topic.replication.factor": str(copies),
            "min.insync.replicas": str(max(1, copies - 1)),
            "transaction.state.log.min.isr": str(max(1, copies - 1)),
            "share.coordinator.state.topic.min.isr": str(max(1, copies - 1)),
            **SETTINGS,
            **(self.realm.properties(node.ports) if self.realm else {}),
            **self._settings,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _role(self, node: KafkaNode) -> dict[str, str]:
        """Return what a node is told of its roles and of where it listens."""
        ports = dict(node.ports)
        if node is self.controller:
            return {
                "process.roles": "controller",
                "listeners": f"CONTROLLER://{HOST}:{ports['CONTROLLER']}",
            }
        names = ",".join(f"{name}:PLAINTEXT" for name in ports)
        if self.controller is not None:
            del ports["CONTROLLER"]
        told = {"CLIENT": node.address}
        told |= {n: f"{HOST}:{p}" for n, p in ports.items() if n in ("INTERNAL", "MTLS")}
        return {
            "process.roles": "broker" if self.controller else "broker,controller",
            "inter.broker.listener.name": "INTERNAL",
            "listeners": ",".join(f"{name}://{HOST}:{p}" for name, p in ports.items()),
            "advertised.listeners": ",".join(f"{name}://{at}" for name, at in told.items()),
            "listener.security.protocol.map": names,
        }

    def _format(self, nodes: Sequence[KafkaNode]) -> None:
        """Run Kafka's storage tool for all at once."""
        running = [
            subprocess.Popen(  # noqa: S603  arguments are ours
                [java(), *JVM, *self._mapped, *_logging(node.folder), "-cp", class_path(),
                 "kafka.tools.StorageTool", "format", "--config", str(node.properties),
                 "--cluster-id", self.cluster_id,
                 *(self.realm.format_options() if self.realm else [])],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for node in nodes
        ]  # fmt: skip
        for one in running:
            said, _ = one.communicate(timeout=READY_S)
            if one.returncode != 0:
                raise Unavailable(
                    f"the storage tool refused: {said[-1500:]}",
                    hint="Look at the settings that were given over the usual ones.",
                )


def free_ports(count: int) -> list[int]:
    """Return ports that are free now and that no outgoing connection will take by chance.

    A broker that is killed comes back on its port, so they lie below the range that the kernel gives out.
    """
    found: list[int] = []
    for port in _candidates():
        with socket.socket() as probe:
            # As the broker does itself: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Unavailable("no free ports are left", hint="Look at what listens on this machine.")


def _candidates() -> Iterator[int]:
    kernel = Path("/proc/sys/net/ipv4/ip_local_port_range")
    top = min(32_000, int(kernel.read_text().split()[0])) if kernel.exists() else 32_000
    bottom = 12_000
    # Each process begins elsewhere, and each call goes on where the last one ended.
    global _next_port  # noqa: PLW0603
    first = _next_port or os.getpid() * 61
    for step in range(top - bottom):
        _next_port = first + step + 1
        yield bottom + (first + step) % (top - bottom)


_next_port = 0


def _cluster_id(folder: Path) -> str:
    digest = hashlib.sha256(str(folder).encode()).digest()[:16]
    text = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return "u" + text[1:]  # a leading dash would look like an option


def _java_hash(text: str) -> int:
    number = 0
    for letter in text:
        number = (31 * number + ord(letter)) & 0xFFFFFFFF
    return abs(number - (1 << 32) if number >> 31 else number) % (1 << 31)


def _mapped() -> tuple[str, ...]:
    """Return the option that maps a broker's classes from the cache: two thirds of its start."""
    kept = archive()
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with (kept.parent / "archive.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                _make_archive(kept)
    return (f"-XX:SharedArchiveFile={kept}", "-Xshare:auto", "-Xlog:cds=off")


def _make_archive(kept: Path) -> None:
    part = kept.with_suffix(".part")
    with KafkaCluster(1, archiving=part) as cluster:
        admin = cluster.admin()
        admin.create_topics([NewTopic("warm", 1, 1)])["warm"].result(READY_S)
        cluster.nodes[0].stop()
    if part.exists():
        part.replace(kept)


def _logging(folder: Path) -> list[str]:
    return [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]


def _ignore(error: object) -> None:
    """Take an error that the caller sees anyway."""


def _main(arguments: list[str]) -> int:
    """Run a cluster in the foreground until interrupted."""
    count = int(arguments[0]) if arguments else 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it in order
    with KafkaCluster(count) as cluster:
        words = "One broker" if count == 1 else f"{count} brokers"
        print(f"{words} of Apache Kafka, ready. Data in {cluster.folder}, removed at the end.")
        print(
            f"  export USANCE_LOG=kafka://{cluster.bootstrap} USANCE_KAFKA_REPLICATION={min(3, count)}"
        )
        print("  usance kafka setup && usance start")
        print("Ctrl-C ends it.", flush=True)
        try:
            while all(node.running() for node in cluster.nodes):
                cluster.clock.sleep(0.5)
        except KeyboardInterrupt:
            return 0
        dead = next(node for node in cluster.nodes if not node.running())
        print(f"broker {dead.number} ended: {dead.log_tail()}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
