"""The owner's producers: a pool of three that take turns, each with a stable transactional id.

The order inside a unit is rule 16's: records, flush, positions under their fence, footers, flush,
commit. Only the commit itself can be in doubt: whatever fails before it certainly left nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Place

from usance.adapters.kafka_cluster import explained, first_error
from usance.adapters.kafka_fast import SEND
from usance.adapters.kafka_rows import Row, pairs
from usance.adapters.kafka_settings import KafkaSettings
from usance.adapters.kafka_states import Event, State, after
from usance.kernel.clock import Clock
from usance.kernel.errors import Fenced, Unavailable, Uncertain, Unreadable, UsanceError

POOL = 3
UNIT_SECONDS = 2.0
"""What a unit may take up to its commit; the broker ends it after `TRANSACTION_MS`."""
SUSPECT_SECONDS = 1.0
"""A commit that took longer may have been sent twice: its producer is retired."""
ABORT_SECONDS = 5.0
COMMIT_SECONDS = 8.0
"""Longer than the broker lets a transaction be open: what has no answer by then may never get one."""
CONNECT_SECONDS = 1.0
CONNECTS_SECONDS = 0.05
"""How long a client that has found a broker needs to reach the others that it learnt of."""
INIT_SECONDS = 10.0
LOOK_SECONDS = 1.0
MISSING_MAX = 3
"""Units in a row that met a topic which the cluster does not know: a broker that starts knows it by then."""
GRACE_SECONDS = 10.0
"""Fenced twice within this time: that is a twin, not a transaction that timed out."""

_DATA = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG)
_IN_FLIGHT = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_AGAIN = "abort, rewind and decide it again"


class Sealed(NamedTuple):
    """A unit as its producer sends it."""

    rows: Sequence[Row]
    positions: list[Place]
    token: bytes
    footers: Sequence[Row]


def nobody() -> None:
    """Hear of nothing."""


class UnitProducer:
    """One transactional id; used by one thread at a time."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        number: int,
        clock: Clock,
        missing: Counter[str] | None = None,
    ) -> None:
        self.name = f"{group}-{settings.slot}-{number}"
        self._missing = Counter[str]() if missing is None else missing
        self.state = State.RETIRED
        self._options = settings.transactional(group, number)
        self._options |= {"error_cb": self._troubled}
        self._clock = clock
        self._client: Producer | None = None
        self._failed: KafkaError | None = None
        self._trouble = False
        self.called_at: float | None = None
        """When the call under way began, if one is."""
        self.built = 0
        """How often a client was made: more than once means that one was retired."""
        self._fenced_at: float | None = None

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Let others see for how long a call of the client has been under way."""
        self.called_at = self._clock.monotonic()
        try:
            yield
        except SystemError as odd:
            raise _meant(odd) from odd
        finally:
            self.called_at = None

    def _to(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _troubled(self, error: KafkaError) -> None:  # noqa: ARG002
        self._trouble = True

    def _delivered(self, error: KafkaError | None, message: Message) -> None:  # noqa: ARG002
        if error is not None and self._failed is None and error.code() not in _IN_FLIGHT:
            self._failed = error

    def rebuild(self) -> None:
        """Close what is left and begin anew under the same id: that fences whatever is on its way."""
        self.close()
        doing = f"taking over the transactional id {self.name}"
        try:
            client = Producer(self._options)
            deadline = self._clock.monotonic() + INIT_SECONDS
            self._connect(client)
            while True:
                try:
                    with self._call():
                        client.init_transactions(max(0.1, deadline - self._clock.monotonic()))
                    break
                except KafkaException as exc:
                    error = first_error(exc)
                    if not error.retriable() or self._clock.monotonic() > deadline:
                        raise
        except KafkaException as exc:
            raise explained(first_error(exc), doing) from exc
        self._client, self._failed, self._trouble = client, None, False
        self.built += 1
        self._to(Event.REBUILT)

    def _connect(self, client: Producer) -> None:
        """Let a new client connect first: asked before it has, it looks again only half a second later."""
        with suppress(KafkaException):
            client.list_topics(timeout=CONNECT_SECONDS)
        self._clock.sleep(CONNECTS_SECONDS)

    def close(self) -> None:
        """Let the client go, with whatever it still holds."""
        client, self._client = self._client, None
        if client is not None:
            # Never waited for: without a broker to say goodbye to it takes as long as it likes.
            threading.Thread(
                target=_let_go, args=(client,), name="kafka-close", daemon=True
            ).start()
        if self.state is State.UNCERTAIN:
            self._to(Event.CLOSED)
        elif self.state is State.OPEN or self.state is State.IDLE:
            self._to(Event.LOST)

    def commit(self, unit: Sealed, written: Callable[[], None] = nobody) -> None:
        """Write a unit and commit it; `written` hears when only the commit is left.

        Raises Unavailable or Unreadable (certainly not committed), Uncertain, or Fenced (a twin).
        """
        client = self._client
        assert client is not None and self.state is State.IDLE
        deadline = self._clock.monotonic() + UNIT_SECONDS
        self._failed, self._trouble = None, False
        try:
            client.begin_transaction()
            self._to(Event.BEGIN)
            self._send(client, unit.rows, deadline)
            if unit.positions:
                with self._call():
                    client.send_offsets_to_transaction(unit.positions, unit.token, UNIT_SECONDS)
            self._send(client, unit.footers, deadline)
        except KafkaException as exc:
            raise self._drop(client, first_error(exc)) from exc
        except Unreadable:
            self._drop(client, None)
            raise
        except _Late as exc:
            missing = self._missed(client, unit)
            found = self._drop(client, self._failed)
            if missing and isinstance(found, Unavailable) and not isinstance(found, Uncertain):
                raise Unreadable(
                    "log", f"topic {missing} is not there", hint="`usance kafka setup` makes it"
                ) from exc
            raise found from exc
        self._to(Event.COMMIT)
        written()
        began = self._clock.monotonic()
        try:
            with self._call():
                client.commit_transaction(COMMIT_SECONDS)
        except KafkaException as exc:
            raise self._refused(client, first_error(exc)) from exc
        self._hear(client)
        late = self._clock.monotonic() - began > SUSPECT_SECONDS or self._trouble
        self._to(Event.SLOW if late else Event.COMMITTED)
        if self._missing:
            for row in (*unit.rows, *unit.footers):
                self._missing.pop(row[0], None)

    def _missed(self, client: Producer, unit: Sealed) -> str:
        """Return a topic of the unit that the cluster has not known for several units now, if there is one.

        The client itself says nothing: it goes on asking for longer than a unit may take.
        """
        topics = {row[0] for row in (*unit.rows, *unit.footers)}
        try:
            there = client.list_topics(timeout=LOOK_SECONDS).topics
        except KafkaException:
            return ""
        missing = [name for name in topics if name not in there or there[name].error is not None]
        self._missing.update(missing)
        return next((name for name in missing if self._missing[name] >= MISSING_MAX), "")

    def _send(self, client: Producer, rows: Sequence[Row], deadline: float) -> None:
        if not rows:
            return
        if SEND is not None and isinstance(client, Producer):
            SEND(client, rows)
        else:
            produce, delivered = client.produce, self._delivered
            for row in rows:
                produce(*row[:4], delivered, headers=pairs(row))
        with self._call():
            client.flush(max(0.05, deadline - self._clock.monotonic()))
        if self._failed is not None or len(client):
            raise _Late

    def _hear(self, client: Producer) -> None:
        """Hear of trouble that came meanwhile; a fatal one is raised by whatever call comes first."""
        try:
            client.poll(0)
        except (KafkaException, SystemError):
            self._trouble = True

    def _drop(self, client: Producer, error: KafkaError | None) -> UsanceError:
        """End a transaction that must not commit; returns what to tell the unit's owner."""
        cause = self._failed or error
        if error is not None and (error.fatal() or self.state is State.IDLE):
            return self._lost(error)
        began = self._clock.monotonic()
        try:
            with self._call():
                client.abort_transaction(ABORT_SECONDS)
        except KafkaException as exc:
            failed = first_error(exc)
            if failed.fatal():
                return self._lost(failed)
            self._to(Event.DOUBT)
        else:
            self._hear(client)
            slow = self._clock.monotonic() - began > SUSPECT_SECONDS
            late = slow or cause is None or self._trouble
            self._to(Event.SLOW if late else Event.ABORTED)
        return _told(cause)

    def _lost(self, error: KafkaError) -> UsanceError:
        """A fatal error before the commit: the unit is certainly not in the log."""
        if error.code() not in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
            self._to(Event.LOST)
            return explained(error, "writing a unit")
        now, before = self._clock.monotonic(), self._fenced_at
        self._fenced_at = now
        if before is not None and now - before < GRACE_SECONDS:
            self._to(Event.TWIN)
            return twin(self.name)
        self._to(Event.LOST)
        return Unavailable(
            "the broker ended the unit's transaction (it took too long, or a twin runs)",
            hint=_AGAIN,
        )

    def _refused(self, client: Producer, error: KafkaError) -> UsanceError:
        """A commit did not answer well: only a clean abort proves that the unit is not in the log."""
        if error.txn_requires_abort() and not error.fatal():
            try:
                with self._call():
                    client.abort_transaction(ABORT_SECONDS)
            except KafkaException:
                pass
            else:
                self._to(Event.ABORTED)
                return _told(self._failed or error)
        self._to(Event.DOUBT)
        self.close()
        return Uncertain(
            f"the commit of a unit has no clear answer: {error.str()} ({error.name()})",
            hint="take over again: the log then tells what happened",
        )


def _meant(odd: SystemError) -> BaseException:
    """Return the fatal error of the client that the binding raised where it had a result to return as well."""
    found: BaseException | None = odd
    while found is not None and not isinstance(found, KafkaException):
        found = found.__cause__ or found.__context__
    return found or odd


def _let_go(client: Producer) -> None:
    """Close a client with whatever it still holds; one that met a fatal error says so once more.

    The binding raises SystemError over that where it has returned a result as well.
    """
    with suppress(KafkaException, SystemError):
        client.purge()
        client.close()


class _Late(Exception):
    """A record was not acknowledged within the unit's budget, or was refused."""


def twin(name: str) -> Fenced:
    """Return the error that ends a process whose slot another one uses."""
    return Fenced(
        f"another process uses the transactional id {name}",
        hint="give each process a slot of its own, and see that only one runs",
    )


def _told(cause: KafkaError | None) -> UsanceError:
    if cause is None:
        return Unavailable(
            f"the cluster did not take a unit's records within {UNIT_SECONDS:g} s", hint=_AGAIN
        )
    if cause.code() in _DATA:
        return Unreadable(
            "log", f"{cause.str()} ({cause.name()})", hint="write it in smaller parts"
        )
    return Unavailable(f"a unit was refused: {cause.str()} ({cause.name()})", hint=_AGAIN)


class Pool:
    """The producers of one group's slot, in turn: one may still end while the next begins."""

    def __init__(self, settings: KafkaSettings, group: str, clock: Clock) -> None:
        missing = Counter[str]()
        self._producers = [UnitProducer(settings, group, n, clock, missing) for n in range(POOL)]
        self._turn = 0

    def retired(self) -> int:
        """Return how many producers were given up and replaced (rule 12)."""
        return sum(max(0, producer.built - 1) for producer in self._producers)

    def called_at(self) -> float | None:
        """Return when the longest call under way began, None for none."""
        found = [p.called_at for p in self._producers]
        return min((at for at in found if at is not None), default=None)

    def open(self) -> None:
        """Take over every id of the slot that is not in use (rule 5), all at once."""
        troubles: list[UsanceError] = []

        def take(producer: UnitProducer) -> None:
            try:
                producer.rebuild()
            except UsanceError as trouble:
                troubles.append(trouble)

        waiting = []
        for producer in self._producers:
            if producer.state is State.FENCED:
                raise twin(producer.name)
            if producer.state is not State.IDLE:
                waiting.append(_in_thread(take, producer))
        for thread in waiting:
            thread.join()
        if troubles:
            raise troubles[0]

    def next(self) -> UnitProducer:
        """Return the producer whose turn it is, rebuilt if it was retired."""
        producer = self._producers[self._turn]
        if producer.state is State.FENCED:
            raise twin(producer.name)
        if producer.state is not State.IDLE:
            producer.rebuild()
        self._turn = (self._turn + 1) % POOL
        return producer

    def close(self) -> None:
        """Let all of them go."""
        for producer in self._producers:
            producer.close()


def _in_thread(call: Callable[[UnitProducer], None], producer: UnitProducer) -> threading.Thread:
    thread = threading.Thread(target=call, args=(producer,), name="kafka-init", daemon=True)
    thread.start()
    return thread
