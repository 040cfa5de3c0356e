"""The projector: follows topics from its own checkpoints and keeps every projection's rows.

A batch is folded in memory and written with its checkpoints in one database transaction, by
compare-and-set: a checkpoint that is not where it was read, or of another epoch, rolls everything
back, which fences zombies. A record that cannot be taken in parks its key in that projection: later
records of the key queue behind it, every other key goes on, and its rows say since when they are
stale. A rebuild mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from usance.engine.projections.flight import Flight, Follower
from usance.engine.projections.projection import (
    Checkpoint,
    Difference,
    Fact,
    Generation,
    Handler,
    Key,
    Projection,
    Rows,
    ViewStore,
    fact_of,
)
from usance.engine.topics import Topics
from usance.kernel.errors import Fenced, NotFound, Tampered, Unavailable, Unreadable, UsanceError
from usance.log.contract import Log, Record, TopicPartition
from usance.messages.decoder import Decoder

BATCH_RECORDS_MAX = 500
"""Records per partition and step."""
BUILD_ASIDE_RECORDS = 10_000
"""Records in the log from which an empty view is built aside, as a rebuild is, instead of in sight."""
INDEXED_KINDS = ("events", "outcomes", "dead-letters")
SINGLE_PARTITION_KINDS = ("schemas",)
_PASS_ON = (Unavailable, Fenced, Tampered)
"""Errors that are no fault of the record being handled."""

Taker = tuple[int, Handler]
"""Which of the followers of a place, and what it does with a record."""
_Todo = list[tuple[Fact, Handler]]


class RebuildProgress(NamedTuple):
    """How far a rebuild is: records taken in, and records there are (both by offset)."""

    name: str
    generation: int
    done: int
    total: int


class RebuildReport(NamedTuple):
    """A finished rebuild. `compared` is false where the version is another one.

    `differences` are rows (100 at most) that the live tables had otherwise, `mended` of them had
    been stale: those were expected.
    """

    name: str
    generation: int
    compared: bool
    differences: list[Difference]
    mended: int
    swapped: bool


OnProgress = Callable[[RebuildProgress], None]


class _Rebuild:
    """A rebuild under way."""

    def __init__(
        self, follower: Follower, blue: Generation, fits: bool, progress: OnProgress | None
    ) -> None:
        self.follower = follower
        self.blue = blue
        self.fits = fits
        self.progress = progress
        self.keep = True
        self.compare = True
        self.report: RebuildReport | None = None


class Projector:
    """Keeps projections; one `step` is at most one batch per partition and one transaction.

    With `follow=False` it only rebuilds (beside the process that follows). Not safe across threads.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        decoder: Decoder,
        store: ViewStore,
        projections: Sequence[Projection],
        *,
        log_id: str,
        follow: bool = True,
        batch_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        self.log = log
        self.topics = topics
        self.decoder = decoder
        self.store = store
        self.projections = {p.name: p for p in projections}
        self.log_id = log_id
        self.follow = follow
        self.batch_max = batch_max
        self.taken = 0
        self._doubt = False
        self._flight = Flight(store)
        self._followers: dict[str, Follower] = {}
        self._rebuilds: dict[str, _Rebuild] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._routes: dict[tuple[object, ...], dict[bytes, list[Taker]]] = {}

    # -- life

    def open(self) -> None:
        """Take every projection over; one whose tables are of another version is rebuilt.

        Raises Tampered when the views belong to another log, or know more than the log holds.
        """
        self.store.open(self.log_id)
        if self.follow:
            for projection in self.projections.values():
                self._adopt(projection)

    def step(self, wait: float = 0.0) -> int:
        """Take in one batch; returns how many records. Waits at most `wait` seconds for the first.

        Raises Fenced when another projector holds the checkpoints; what was under way is dropped.
        """
        if not self._followers and not self._rebuilds:
            return 0
        busy = self._rebuilds or self._flight.under_way
        if not busy and not self.log.wait(self._beyond(), wait):
            return 0  # one question for all partitions, however many there are
        try:
            if self._doubt:
                self._look_again()
            done = self._batch()
            if self._flight.under_way:
                return done  # there is more to read
            return done + sum([self._finish(rebuild) for rebuild in list(self._rebuilds.values())])
        except Fenced:
            self._drop_batch()
            if not self._adopt_swapped():
                raise
            return 1
        except BaseException as trouble:
            self._drop_batch()
            self._doubt = isinstance(trouble, Unavailable)
            raise

    def lag(self) -> dict[str, int]:
        """Return how many offsets each live projection is behind; 0 where nothing is left to read."""
        found: dict[str, int] = {}
        for name, follower in self._followers.items():
            behind, ends = 0, self.log.ends(follower.generation.checkpoints)
            for place, checkpoint in follower.generation.checkpoints.items():
                end = ends[place]
                if end > max(checkpoint.offset, self._ends.get(place, 0)):
                    first = next(iter(self.log.scan(place, checkpoint.offset, end, 1)), None)
                    behind += 0 if first is None else end - checkpoint.offset
            found[name] = behind
        return found

    def taken_in(self, place: TopicPartition) -> int | None:
        """Return the offset before which every view has read a partition; None where none reads it.

        Any thread may ask.
        """
        kept = [f.generation.checkpoints.get(place) for f in self._all()]
        return min((c.offset for c in kept if c is not None), default=None)

    def idle(self) -> bool:
        """Tell whether everything is taken in and no rebuild is under way."""
        busy = self._rebuilds or self._flight.under_way
        return not busy and not any(self.lag().values())

    def close(self) -> None:
        """Stop following; unfinished rebuilds are dropped."""
        with suppress(UsanceError):  # whatever became of it is read from the store again
            self._flight.land()
        self._flight.close()
        for name in list(self._rebuilds):
            self.abort_rebuild(name)
        self._followers.clear()
        self._routes.clear()

    # -- rebuilds

    def rebuild(self, name: str, progress: OnProgress | None = None) -> RebuildReport:
        """Build new tables from the first record, follow until they have caught up, compare, swap.

        The live tables are kept up meanwhile. An error or interrupt leaves them as they are.
        Raises NotFound for an unknown name.
        """
        return self._run(self.begin_rebuild(name, progress))

    def verify(self, name: str) -> list[Difference]:
        """Compare the live tables with a fold from the first record; nothing is swapped."""
        rebuild = self.begin_rebuild(name)
        rebuild.keep = False
        return self._run(rebuild).differences

    def begin_rebuild(self, name: str, progress: OnProgress | None = None) -> _Rebuild:
        """Begin a rebuild that `step` carries on and finishes."""
        projection = self.projections.get(name)
        if projection is None:
            raise NotFound(f"no projection {name}", hint="usance projection list shows all")
        self.abort_rebuild(name)
        following = self._followers.get(name)
        if following is not None:
            blue, fits = following.generation, True
        else:
            blue, fits = self.store.claim(projection, self._places(projection), look=True)
            self._check_places(blue)  # new tables never come up to what the log does not hold
        green = self.store.build(projection, self._places(projection))
        rebuild = _Rebuild(Follower(self.store, green), blue, fits, progress)
        self._rebuilds[name] = rebuild
        self._routes, self._ends = {}, {}  # it reads what others have read
        return rebuild

    def abort_rebuild(self, name: str) -> None:
        """Drop a rebuild under way, if there is one; the live tables are untouched."""
        rebuild = self._rebuilds.pop(name, None)
        if rebuild is not None:
            self._routes.clear()
            self.store.drop(rebuild.follower.generation)

    def _run(self, rebuild: _Rebuild) -> RebuildReport:
        name = rebuild.blue.projection.name
        try:
            while rebuild.report is None:
                self.step(0.0)
        except BaseException:
            self.abort_rebuild(name)
            raise
        return rebuild.report

    def _finish(self, rebuild: _Rebuild) -> int:
        """Compare and swap when the new tables have caught up; returns 1 when it is over."""
        green, name = rebuild.follower.generation, rebuild.blue.projection.name
        if rebuild.progress is not None:
            done = sum(c.offset for c in green.checkpoints.values())
            total = max(done, sum(self.log.ends(green.checkpoints).values()))
            rebuild.progress(RebuildProgress(name, green.number, done, total))
        following = self._followers.get(name)
        blue = following.generation if following is not None else rebuild.blue
        if following is None and not self._caught_up(green):
            return 0
        if any(c.offset < blue.checkpoints[p].offset for p, c in green.checkpoints.items()):
            return 0
        compared = (
            rebuild.compare and rebuild.fits and blue.projection.version == green.projection.version
        )
        differences, mended = self._compared(blue, green) if compared else ([], 0)
        if rebuild.keep:
            if not self.store.swap(green):
                rebuild.blue = self._current(rebuild.blue)
                self._ends.clear()
                return 0
            if self.follow:
                self._followers[name] = rebuild.follower
        else:
            self.store.drop(green)
        del self._rebuilds[name]
        self._routes.clear()
        rebuild.report = RebuildReport(
            name, green.number, compared, differences, mended, rebuild.keep
        )
        return 1

    def _compared(self, blue: Generation, green: Generation) -> tuple[list[Difference], int]:
        found = self.store.differences(blue, green)
        stale = [d for d in found if d.live is not None and d.live["stale_since"] is not None]
        return found, len(stale)

    def _current(self, blue: Generation) -> Generation:
        projection = blue.projection
        return self.store.claim(projection, self._places(projection), look=True)[0]

    def _caught_up(self, generation: Generation) -> bool:
        """Tell whether nothing is left, or for a follower no more than a batch: logs grow meanwhile."""
        enough, ends = self.batch_max if self.follow else 1, self.log.ends(generation.checkpoints)
        return all(
            ends[p] - max(c.offset, self._ends.get(p, 0)) < enough
            for p, c in generation.checkpoints.items()
        )

    # -- taking over

    def _adopt(self, projection: Projection) -> None:
        generation, fits = self.store.claim(projection, self._places(projection))
        self._routes.clear()
        if not fits:
            self._followers.pop(projection.name, None)
            self.begin_rebuild(projection.name)
            return
        self._check_places(generation)
        empty = not any(c.offset for c in generation.checkpoints.values())
        if empty and sum(self.log.ends(generation.checkpoints).values()) >= BUILD_ASIDE_RECORDS:
            self._followers.pop(projection.name, None)
            self.begin_rebuild(projection.name).compare = False
            return
        self._followers[projection.name] = Follower(self.store, generation)

    def _check_places(self, generation: Generation) -> None:
        for place, checkpoint in generation.checkpoints.items():
            if checkpoint.offset:
                self._check_place(generation.projection.name, place, checkpoint)

    def _check_place(self, name: str, place: TopicPartition, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint outside the log (rule 18): never skip, never reset."""
        begin, end = self.log.begin(place), self.log.end(place)
        if not begin <= checkpoint.offset <= end:
            raise Tampered(
                f"projection {name} stands at {checkpoint.offset} of {place.topic} partition"
                f" {place.partition}, which holds {begin} to {end}",
                hint="the log is older than its views: restore the right log, or delete the views"
                " database to have it built anew",
            )

    def _adopt_swapped(self) -> bool:
        """Take over what another process has rebuilt; False when nobody swapped anything."""
        swapped = [
            name
            for name, follower in self._followers.items()
            if self.store.live(name) != follower.generation.number
        ]
        for name in swapped:
            self._adopt(self.projections[name])
        return bool(swapped)

    def _places(self, projection: Projection) -> list[TopicPartition]:
        found = []
        for kind in projection.kinds:
            single = kind in SINGLE_PARTITION_KINDS
            for context in ("system",) if single else projection.contexts:
                if context not in self.topics.contexts:
                    continue  # an older program's log: it comes with the next start
                count = 1 if single else self.topics.count(context)
                found += [self.topics.at(context, kind, n) for n in range(count)]
        return found

    # -- one batch

    def _all(self) -> list[Follower]:
        return [*self._followers.values(), *(r.follower for r in self._rebuilds.values())]

    def _beyond(self) -> dict[TopicPartition, int]:
        beyond: dict[TopicPartition, int] = {}
        for follower in self._all():
            for place, checkpoint in follower.generation.checkpoints.items():
                known = max(checkpoint.offset, self._ends.get(place, 0))
                beyond[place] = min(beyond.get(place, known), known)
        return beyond

    def _batch(self) -> int:
        followers = self._all()
        places = {p for f in followers for p in f.generation.checkpoints}
        done, ends = 0, self.log.ends(places)
        for place in sorted(places):
            group = [f for f in followers if place in f.generation.checkpoints]
            done += self._read_place(place, group, ends[place])
        moved = [f for f in followers if f.moves]
        if moved:
            self._flight.take_off(moved, wait=done < self.batch_max)
        else:
            self._flight.land()
        self.taken += done
        return done

    def _look_again(self) -> None:
        """Go on from what the store says: the answer to a commit may have been lost."""
        for name, rebuild in list(self._rebuilds.items()):
            try:
                self.store.again(rebuild.follower.generation)
            except Fenced:  # it was swapped after all, or a later one dropped it
                del self._rebuilds[name]
                self._routes.clear()
                if self.follow and name not in self._followers:
                    self._adopt(self.projections[name])
        for follower in self._followers.values():
            self.store.again(follower.generation)
        for follower in self._all():
            follower.parked_before = dict(follower.generation.parked)
        self._doubt = False

    def _drop_batch(self) -> None:
        with suppress(Exception):  # what was wrong with it is being told, or will be met again
            self._flight.land()
        for follower in self._all():
            follower.dropped()
        self._ends.clear()

    def _read_place(self, place: TopicPartition, group: list[Follower], end: int) -> int:
        """Read one partition for all its followers, those behind first until they catch up."""
        done, waiting = 0, sorted(group, key=lambda f: f.at(place))
        together: list[Follower] = []
        while waiting:
            start = waiting[0].at(place)
            while waiting and waiting[0].at(place) == start:
                together.append(waiting.pop(0))
            mark = waiting[0].at(place) if waiting else end
            if max(start, self._ends.get(place, 0) if not waiting else 0) >= mark:
                continue
            scan = self.log.scan(place, start, mark, min(self.batch_max, 1_000))
            records = list(islice(scan, self.batch_max))
            self._take(place, records, together)
            done += len(records)
            if len(records) == self.batch_max:
                together = []
            elif waiting:
                for follower in together:  # gaps: nothing is left below the next one's place
                    follower.move(place, Checkpoint(mark, waiting[0].checkpoint(place).indexed))
            else:
                self._ends[place] = mark
                for green in (r for r in self._rebuilds.values() if r.follower in together):
                    known = green.blue.checkpoints.get(place)
                    if known and known.offset > green.follower.at(place):  # it stands in a gap
                        green.follower.move(place, known)
        return done

    def _take(self, place: TopicPartition, records: list[Record], takers: list[Follower]) -> None:
        if not records:
            return
        todo, broken = self._decoded(place, records, takers)
        for follower, own in zip(takers, todo, strict=True):
            if not follower.rows.complete:
                follower.rows.prefetch([record.key for record in records])
                if follower.generation.projection.ahead:
                    follower.rows.expect(_ahead(follower, own))
            self._handle(follower, place, own, broken)
        to = records[-1].offset + 1
        index = self._index_after(place, records[-1])
        for follower in takers:
            known = follower.checkpoint(place).indexed
            follower.move(place, Checkpoint(to, max(known, index)))

    def _decoded(
        self, place: TopicPartition, records: list[Record], takers: list[Follower]
    ) -> tuple[list[_Todo], dict[int, str]]:
        """Decode, once for all takers, the records that they want; by offset, what is broken about some."""
        routes = self._routes_for(place, takers)
        unrouted = routes.get(b"*", [])
        decoder, decode = self.decoder, self.decoder.message
        readable = _kind(place.topic) in ("events", "outcomes", "schemas")
        todo: list[_Todo] = [[] for _ in takers]
        broken: dict[int, str] = {}
        for record in self.decoder.with_keys(records):
            headers = record.headers
            kind = headers[2][1] if len(headers) > 2 and headers[2][0] == "ce_type" else b""
            wanted = routes.get(kind, unrouted)
            if not wanted:
                continue
            message = None
            if readable and kind:
                try:
                    message = decode(headers, record.value)
                except Unreadable as error:
                    broken[record.offset] = f"{error.stage}: {error.reason}"
            fact = fact_of(record, decoder, message)
            for taker, handler in wanted:
                todo[taker].append((fact, handler))
        return todo, broken

    def _handle(
        self, follower: Follower, place: TopicPartition, todo: _Todo, broken: dict[int, str]
    ) -> None:
        """Let one projection take in what it wants of a batch; what it cannot take in parks its key."""
        rows, parked = follower.rows, follower.generation.parked
        if not broken and not parked and _handled_at_once(follower, place, todo):
            return
        for fact, handler in todo:
            record = fact.record
            if broken and record.offset in broken:
                follower.park(record, place, broken[record.offset])
                continue
            if parked and (place, fact.key) in parked:
                follower.park(record, place, "")
                continue
            mark = rows.mark()
            try:
                handler(fact, rows)
            except _PASS_ON:
                raise
            except Exception as bug:  # noqa: BLE001  whatever it is: this key stops, others go on
                rows.undo(mark)
                why = bug.reason if isinstance(bug, Unreadable) else type(bug).__name__
                follower.park(record, place, f"handle: {why}")

    def _index_after(self, place: TopicPartition, last: Record) -> int:
        """Return the next index behind a record, 0 where records have none."""
        if _kind(place.topic) not in INDEXED_KINDS:
            return 0
        try:
            return self.decoder.meta(last.headers).index + 1
        except Unreadable:
            return 0

    def _routes_for(
        self, place: TopicPartition, takers: list[Follower]
    ) -> dict[bytes, list[Taker]]:
        """Return handlers by `ce_type` for one topic; `*` stands for types nobody names."""
        key = (place.topic, *(id(t) for t in takers))
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = self._make_routes(_kind(place.topic), takers)
        return found

    def _make_routes(self, kind: str, takers: list[Follower]) -> dict[bytes, list[Taker]]:
        by_class = self.decoder.catalogue.by_class
        named = {  # what the catalogue does not know cannot be in the log
            by_class[cls].fullname.encode()
            for t in takers
            for cls in t.generation.projection.handlers
            if cls in by_class
        }
        routes: dict[bytes, list[Taker]] = {name: [] for name in (*named, b"*", b"")}
        for number, taker in enumerate(takers):
            projection = taker.generation.projection
            raw = projection.raw.get(kind)
            handled = projection.handlers.items()
            own = {by_class[c].fullname.encode(): h for c, h in handled if c in by_class}
            for name, wanted in routes.items():
                handler = own.get(name, raw)
                if name == b"" and raw is None and kind in INDEXED_KINDS:
                    handler = _typeless
                if handler is not None:
                    wanted.append((number, handler))
        return routes


def _handled_at_once(follower: Follower, place: TopicPartition, todo: _Todo) -> bool:
    """Take in a whole batch, nearly always; else nothing is changed, and False says to go one by one."""
    rows, together = follower.rows, follower.generation.projection.together.get(_kind(place.topic))
    mark = rows.mark()
    try:
        if together is not None:
            together([fact for fact, _ in todo], rows)
        else:
            for fact, handler in todo:
                handler(fact, rows)
    except _PASS_ON:
        raise
    except Exception:  # noqa: BLE001  whose fault it is, is found one by one
        rows.undo(mark)
        return False
    return True


def _ahead(follower: Follower, todo: _Todo) -> Iterator[tuple[str, Key]]:
    """Return the rows that a batch's handlers will read, as far as that can be told beforehand."""
    ahead = follower.generation.projection.ahead
    for fact, _ in todo:
        named = ahead.get(type(fact.message))
        if named is not None:
            with suppress(Exception):  # its handler will meet the same, and park the key
                yield from named(fact)


def _typeless(fact: Fact, rows: Rows) -> None:  # noqa: ARG001  a handler like any other
    raise Unreadable("decode", "no ce_type header", hint="run usance log verify")


def _kind(topic: str) -> str:
    return topic.rsplit(".", 1)[1]
