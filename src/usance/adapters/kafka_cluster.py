"""One connection for questions about a cluster: topics, bounds, positions; and Kafka's errors in our words.

Nothing here is a guess: what the cluster does not answer in time is Unavailable (rules 4 and 5).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from usance.adapters.kafka_access import connect
from usance.adapters.kafka_settings import KafkaSettings
from usance.adapters.kafka_topics import wanted
from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Refused, Unavailable, Unreadable, UsanceError
from usance.log.contract import TopicPartition, TopicSettings

ASK_SECONDS = 5.0
"""How long one question may take, retries included."""
STABLE_SECONDS = 4.0
"""How long a position is waited for that an open transaction may still move, beside what that may stay open."""
AGAIN_SECONDS = 0.005
LOOK_SECONDS = 0.5
RENEW_SECONDS = 5.0
"""How long an admin client is kept at least, and its predecessors: answers to them are awaited no longer."""
FORMER_MAX = 3
NO_OFFSET = -1001

T = TypeVar("T")

_UNKNOWN = {
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
}
_DATA = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
}
_NOT_ALLOWED = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_AGAIN = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError.REQUEST_TIMED_OUT,
}
_MOVED = {
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
"""Answers that say: what you know of leaders is old."""


def first_error(exc: KafkaException) -> KafkaError:
    """Return the error inside an exception of the client."""
    error = exc.args[0]
    assert isinstance(error, KafkaError)
    return error


def explained(error: KafkaError, doing: str) -> UsanceError:
    """Return a client's error in the words of our tree; `doing` is what was tried."""
    code, said = error.code(), f"{doing}: {error.str()} ({error.name()})"
    if code in _UNKNOWN:
        return NotFound(said, hint="create the topic first; `usance topic list` shows what exists")
    if code in _DATA:
        return Unreadable("log", said, hint="write it in smaller parts")
    if code in _NOT_ALLOWED:
        return Unavailable(said, hint="check user, password and the rights granted on the cluster")
    return Unavailable(said, hint="see that the brokers are up and can be reached; try again")


def unknown(error: KafkaError) -> bool:
    """Tell whether a broker does not know a topic or partition: it is not there, or the broker starts."""
    return error.code() in _UNKNOWN


def _away(error: KafkaError, doing: str) -> Unavailable:
    return Unavailable(
        f"{doing}: the cluster does not know a topic that was there ({error.name()})",
        hint="a broker that starts knows it in a moment; else it was deleted: restore the log",
    )


class Cluster:
    """The admin client of a log with what it has learned about topics. Any thread may ask."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        settings.check()
        self.settings = settings
        self.clock = clock
        self._partitions: dict[str, int] = {}
        self._askers: dict[str, Consumer] = {}
        self._lock = threading.Lock()
        self._admin = connect(settings.client("admin"), clock)
        self._renewed = clock.monotonic()
        self._former: deque[AdminClient] = deque()

    # --- names ------------------------------------------------------------------------------

    def real(self, name: str) -> str:
        """Return a topic's or group's name on the cluster."""
        return self.settings.prefix + name

    def place(self, partition: TopicPartition, offset: int = NO_OFFSET) -> Place:
        """Return a partition as the client wants it."""
        return Place(self.settings.prefix + partition.topic, partition.partition, offset)

    def known(self, place: Place) -> TopicPartition:
        """Return a client's partition in our terms."""
        return TopicPartition(place.topic.removeprefix(self.settings.prefix), place.partition)

    def check(self, partition: TopicPartition) -> None:
        """Raise NotFound unless the partition exists."""
        if not 0 <= partition.partition < self.partitions(partition.topic):
            raise NotFound(
                f"the log has no topic {partition.topic} with a partition {partition.partition}",
                hint="create the topic first; `usance topic list` shows what exists",
            )

    def partitions(self, topic: str) -> int:
        """Return a topic's number of partitions; 0 for one that does not exist."""
        count = self._partitions.get(topic)
        if count is None:
            found = self._names()
            with self._lock:
                self._partitions |= found
            count = found.get(topic, 0)
        return count

    # --- questions --------------------------------------------------------------------------

    def _ask(
        self,
        doing: str,
        call: Callable[[], T],
        seconds: float = ASK_SECONDS,
        *,
        known: bool = False,
    ) -> T:
        """Call until it answers, `seconds` at most; errors that pass are waited out.

        `known` topics were seen before: a broker that starts may not know them yet, which is no answer.
        """
        deadline = self.clock.monotonic() + seconds
        pause = AGAIN_SECONDS
        while True:
            admin = self._admin
            try:
                return call()
            except Late:
                self._renew(admin)
                raise Unavailable(
                    f"{doing}: the cluster did not answer within {seconds:g} s",
                    hint="see that the brokers are up and can be reached; try again",
                ) from None
            except KafkaException as exc:
                error = first_error(exc)
                away = known and error.code() in _UNKNOWN
                passing = away or error.retriable() or error.code() in _AGAIN
                if not passing or self.clock.monotonic() + pause > deadline:
                    if passing:
                        self._renew(admin)
                    raise (_away(error, doing) if away else explained(error, doing)) from exc
                if error.code() in _MOVED:
                    # The admin client goes on asking with what it knew, unless it is made to look.
                    with suppress(KafkaException):
                        self._admin.list_topics(timeout=LOOK_SECONDS)
            self.clock.sleep(pause)
            pause = min(0.1, 2 * pause)

    def _renew(self, old: AdminClient) -> None:
        """Take another admin client: one that met a cluster in trouble may never get a good answer again.

        It goes on asking with what it knew of leaders and their epochs, while brokers that came back refuse that.
        """
        now = self.clock.monotonic()
        with self._lock:
            if self._admin is not old or now - self._renewed < RENEW_SECONDS:
                return
            self._admin, self._renewed = AdminClient(self._options()), now
            self._former.append(old)
            gone = [self._former.popleft()] if len(self._former) > FORMER_MAX else []
        if gone:  # letting it go takes as long as its connections need
            threading.Thread(target=gone.clear, name="kafka-close", daemon=True).start()

    def _options(self) -> dict[str, Any]:
        return self.settings.client("admin") | {"error_cb": _ignore}

    def _names(self) -> dict[str, int]:
        """Return the log's topics on the cluster with their numbers of partitions."""
        start = f"{self.settings.prefix}{self.settings.namespace}."
        others = {self.real(name) for name in self.settings.others}
        found = self._ask("listing topics", lambda: self._admin.list_topics(timeout=ASK_SECONDS))
        return {
            name.removeprefix(self.settings.prefix): len(topic.partitions)
            for name, topic in found.topics.items()
            if (name.startswith(start) or name in others) and topic.error is None
        }

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicSettings]:
        """Return topics as the cluster holds them (all of the log, or those named)."""
        counts = self._names()
        wanted = sorted(counts if names is None else counts.keys() & set(names))
        if not wanted:
            return {}
        real = [self.real(name) for name in wanted]
        ids = self._ask(
            "describing topics",
            lambda: _results(self._admin.describe_topics(TopicCollection(real))),
            known=True,
        )
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in real]
        options = self._ask(
            "reading the configuration of topics",
            lambda: _results(self._admin.describe_configs(resources)),
            known=True,
        )
        said = {resource.name: found for resource, found in options.items()}
        found = {}
        for name in wanted:
            config = said[self.real(name)]
            retention = int(config["retention.ms"].value)
            compacted = "compact" in config["cleanup.policy"].value
            cleanup = "compact" if compacted else "keep" if retention < 0 else "delete"
            kept = retention if cleanup == "delete" else -1
            topic_id = str(ids[self.real(name)].topic_id)
            kind = name.rsplit(".", 1)[-1]
            found[name] = TopicSettings(name, kind, counts[name], cleanup, kept, topic_id)
        with self._lock:
            self._partitions |= counts
        return found

    def create(self, settings: TopicSettings) -> TopicSettings:
        """Create a topic unless it exists; returns it as the cluster holds it."""
        if not settings.name.startswith(f"{self.settings.namespace}.") or settings.partitions < 1:
            raise Refused(
                "BAD_TOPIC",
                f"a topic cannot be named {settings.name!r} with {settings.partitions} partitions",
                hint=f"its name begins with `{self.settings.namespace}.`; one partition or more",
            )
        if not self.partitions(settings.name):
            self._create(settings)
        deadline = self.clock.monotonic() + ASK_SECONDS
        while not (found := self.topics([settings.name])):
            if self.clock.monotonic() > deadline:
                raise Unavailable(
                    f"topic {settings.name} was created and does not show",
                    hint="the cluster's controller may be busy: try again",
                )
            self.clock.sleep(AGAIN_SECONDS)
        return found[settings.name]

    def _create(self, settings: TopicSettings) -> None:
        copies, flush = self.settings.replication, self.settings.flush_single
        config = {n: w.value for n, w in wanted(settings, copies, flush=flush).items()}
        new = NewTopic(
            self.real(settings.name),
            settings.partitions,
            self.settings.replication,
            config=config,
        )

        def call() -> None:
            try:
                _results(self._admin.create_topics([new]))
            except KafkaException as exc:
                if first_error(exc).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

        self._ask(f"creating topic {settings.name}", call)

    def offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, *, committed: bool = False
    ) -> dict[TopicPartition, int]:
        """Return one offset per partition: log starts, true ends, or last stable offsets."""
        for partition in partitions:
            self.check(partition)
        if not partitions:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {self.place(p): spec for p in partitions}
        found = self._ask(
            "asking for the bounds of partitions",
            lambda: _results(self._admin.list_offsets(asked, isolation_level=level)),
            known=True,
        )
        return {self.known(place): result.offset for place, result in found.items()}

    def begins(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets still kept."""
        return self.offsets(partitions, OffsetSpec.earliest())

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return true high watermarks."""
        return self.offsets(partitions, OffsetSpec.latest())

    def stable(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return last stable offsets: where the first open transaction begins, or the end."""
        return self.offsets(partitions, OffsetSpec.latest(), committed=True)

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        """Delete the records below an offset."""
        self._ask(
            f"deleting records of {partition.topic} partition {partition.partition}",
            lambda: _results(self._admin.delete_records([self.place(partition, offset)])),
        )

    # --- groups -----------------------------------------------------------------------------

    def positions(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return a group's stable positions; partitions that certainly have none are left out."""
        for partition in partitions:
            self.check(partition)

        def call() -> list[Place]:
            asked = [self.place(p) for p in partitions]
            answers = self._asker(group).committed(asked, timeout=ASK_SECONDS)
            for answer in answers:
                if answer.error is not None:
                    raise KafkaException(answer.error)
            return answers

        doing = f"asking for the position of group {group}"
        patience = self.settings.transaction_ms / 1000 + STABLE_SECONDS
        try:
            answers = self._ask(doing, call, patience, known=True) if partitions else []
        except Unavailable:
            self._ask_another(group)
            raise
        return {self.known(a): a.offset for a in answers if a.offset >= 0}

    def _ask_another(self, group: str) -> None:
        """Let a client go that got no answer: one that lost its coordinator may never find it again."""
        with self._lock:
            asker = self._askers.pop(group, None)
        if asker is not None:
            threading.Thread(target=asker.close, name="kafka-close", daemon=True).start()

    def _asker(self, group: str) -> Consumer:
        """Return a client of the group that is no member of it.

        The admin client's own question ends the process with a segmentation fault while a coordinator is
        being chosen (librdkafka issue 5040); `committed` of a read_committed client waits for open
        transactions as well.
        """
        with self._lock:
            if group not in self._askers:
                options = self.settings.consumer("positions")
                options |= {"group.id": self.real(group), "log_level": 0}
                self._askers[group] = Consumer(options)
            return self._askers[group]

    def close(self) -> None:
        """Close the clients that asked for positions."""
        with self._lock:
            for asker in self._askers.values():
                asker.close()
            self._askers.clear()

    def set_positions(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Record positions of a group that has no members."""
        places = [self.place(p, offset) for p, offset in positions.items()]
        asked = ConsumerGroupTopicPartitions(self.real(group), places)

        def call() -> None:
            futures = self._admin.alter_consumer_group_offsets([asked])
            for answer in next(iter(_results(futures).values())).topic_partitions:
                if answer.error is not None:
                    raise KafkaException(answer.error)

        try:
            self._ask(f"setting positions of group {group}", call)
        except Unavailable as exc:
            error = (
                first_error(exc.__cause__) if isinstance(exc.__cause__, KafkaException) else None
            )
            if error is None or error.code() not in (
                KafkaError.UNKNOWN_MEMBER_ID,
                KafkaError.NON_EMPTY_GROUP,
                KafkaError.STALE_MEMBER_EPOCH,
            ):
                raise
            raise Unavailable(
                f"group {group} has members in another process, which alone may move it",
                hint="stop them first; a member that died is forgotten after its session",
            ) from exc

    def members(self, group: str) -> int:
        """Return how many members a group has now; none for a group that nobody knows."""

        def call() -> int:
            name = self.real(group)
            found = self._admin.describe_consumer_groups([name])[name].result(ASK_SECONDS)
            return len(found.members)

        return self._ask(f"asking who is in group {group}", call)

    def remove(self, names: Iterable[str]) -> None:
        """Delete topics and all that is in them."""
        asked = [self.real(name) for name in names]
        if asked:
            self._ask("deleting topics", lambda: _results(self._admin.delete_topics(asked)))


def _ignore(error: KafkaError) -> None:
    """Take an error that whoever asked hears of anyway."""


def _results(futures: Mapping[Any, Future[Any]]) -> dict[Any, Any]:
    return {key: future.result(ASK_SECONDS) for key, future in futures.items()}
