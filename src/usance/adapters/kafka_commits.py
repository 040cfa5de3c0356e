"""The thread that commits one member's units, strictly one after the other.

Nothing of a unit is sent before the unit before it is committed: order in the log is the order of
receipts, and a unit never follows one that was lost (rule 7). What overlaps is the deciding of the
next unit, on the caller's thread, with all of the writing of this one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from usance.adapters.kafka_producer import Pool, Sealed
from usance.kernel.clock import Clock
from usance.kernel.errors import Fenced, Unavailable, Uncertain
from usance.log.contract import Receipt, Start, Unit

T = TypeVar("T")
HANG_SECONDS = 12.0
"""Longer than any call of a sound client: what hangs longer may do so for ever."""
WATCH_SECONDS = 0.5
STOP_SECONDS = 10.0


class KafkaUnit:
    """A unit checked and ready to be sent; nothing of it has left the process."""

    def __init__(self, unit: Unit, sealed: Sealed) -> None:
        self.unit = unit
        self.sealed = sealed
        self.pending: KafkaPending | None = None


class KafkaPending:
    """A commit under way; `hangs` tells, and notes, that a call of it takes too long to be waited for."""

    def __init__(self, hangs: Callable[[], bool] | None = None) -> None:
        self._hangs = hangs
        self._receipt: Receipt | None = None
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._written = threading.Event()

    def done(self) -> bool:
        """Tell whether `result` would return at once."""
        return self._over.is_set()

    def written(self, timeout: float) -> bool:
        """Wait at most so many seconds until the cluster has all of the unit, or its commit is over."""
        return self._written.wait(timeout)

    def ends(self) -> None:
        """Note that all of the unit is written: its commit alone is left."""
        self._written.set()

    def result(self, timeout: float | None = None) -> Receipt:
        """Wait for the receipt; raises what the contract says."""
        if not self._wait(timeout):
            raise Uncertain(
                "the commit has not returned in time",
                hint="wait longer, or take over again: the log then tells what happened",
            )
        if self._error is not None:
            raise self._error
        assert self._receipt is not None
        return self._receipt

    def _wait(self, timeout: float | None) -> bool:
        if timeout is not None or self._hangs is None:
            return self._over.wait(timeout)
        while not self._over.wait(WATCH_SECONDS):
            if self._hangs():
                return self._over.is_set()
        return True

    def succeed(self, receipt: Receipt) -> None:
        """Publish the receipt; called once."""
        self._receipt = receipt
        self._over.set()
        self._written.set()

    def fail(self, error: BaseException) -> None:
        """Publish an error; called once."""
        self._error = error
        self._over.set()
        self._written.set()


class Committer:
    """Owns the pool of one member and the chain of its receipts.

    One whose client hangs in a call is given up with its thread: another takes its place, whose producers take
    over the same ids, so that nothing can come of the call any more (rule 12).
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        numbers: Iterator[int],
        check: Callable[[Unit], None],
        committed: Callable[[Unit], None],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._numbers = numbers
        self._check = check
        self._committed = committed
        self._last: int | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = False
        self.given_up = False
        self._thread = threading.Thread(target=self._run, name="kafka-commits", daemon=True)
        self._thread.start()

    def retired(self) -> int:
        """Return how many of its producers were given up after a doubt."""
        return self._pool.retired()

    def start(self, epoch: int) -> None:
        """Begin the receipt chain anew, with every id of the slot taken over."""
        over = threading.Event()
        trouble: list[BaseException] = []

        def begin() -> None:
            self._last = None
            try:
                self._pool.open()
                self._last = -epoch
            except BaseException as exc:  # noqa: BLE001  the caller raises it
                trouble.append(exc)
            over.set()

        self._jobs.put(begin)
        while not over.wait(WATCH_SECONDS):
            if self.hangs():
                raise Unavailable(
                    f"the Kafka client has not come back for {HANG_SECONDS:g} s",
                    hint="another one is tried next",
                )
        if trouble:
            raise trouble[0]

    def submit(self, staged: KafkaUnit, after: Receipt | Start) -> KafkaPending:
        """Queue a unit; its result is in the pending commit."""
        pending = KafkaPending(self.hangs)

        def commit() -> None:
            try:
                pending.succeed(self._commit(staged, after, pending.ends))
            except BaseException as exc:  # noqa: BLE001  whoever waits must hear of it
                if isinstance(exc, Uncertain) or not isinstance(exc, Exception):
                    self._last = None
                pending.fail(exc)

        if self._closing:
            pending.fail(Unavailable("the log is closed", hint="open it again"))
        else:
            self._jobs.put(commit)
        return pending

    def _commit(
        self, staged: KafkaUnit, after: Receipt | Start, written: Callable[[], None]
    ) -> Receipt:
        expected = after.number if isinstance(after, Receipt) else -after.fence_epoch
        if self._last != expected:
            raise Fenced(
                "the unit does not follow the last receipt of its owner",
                hint="abort, rewind and take over again",
            )
        self._check(staged.unit)
        self._pool.next().commit(staged.sealed, written)
        if self.given_up:
            raise Uncertain("the commit came too late", hint="take over again")
        self._committed(staged.unit)
        receipt = Receipt(next(self._numbers), self._clock.now())
        self._last = receipt.number
        return receipt

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._pool.close()

    def hangs(self) -> bool:
        """Tell whether a call has not come back for too long; this one is given up then."""
        since = self._pool.called_at()
        if since is not None and self._clock.monotonic() - since > HANG_SECONDS:
            self.give_up()
        return self.given_up

    def give_up(self) -> None:
        """Wait for this one no longer; should its thread ever come back, it ends."""
        self.given_up = True
        if not self._closing:
            self._closing = True
            self._jobs.put(None)

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        if not self.given_up:
            self._thread.join(STOP_SECONDS)
