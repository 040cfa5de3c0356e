"""Last heads in the log itself, so that a notary on another machine goes on from them, or not at all.

A topic of one partition that is kept for ever holds each advance: what its writer knew (`prev`, a hash over all
advances before it), whose key signs, and the new heads. An advance counts when its `prev` is that of the last
one that counts: the log's own order decides between two writers, and every reader decides alike. So a
compare-and-set needs no fence: whoever finds that another's advance came first has signed nothing.

The folder's own last heads stay beside it: they may be behind the log's, never ahead. They also remember how far
the topic was read. From the topic the log of heads can be made again, entry by entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from usance.audit.codes import Detected
from usance.audit.ports import HeadStore, LastHead
from usance.kernel.errors import Fenced
from usance.log.contract import Log, Output, Record, TopicPartition

KIND = "heads"
VERSION = 1
MARK = "#log"
"""Where the folder's own last heads note how far the topic was read: no tree has such a name."""
START = b"usance/heads/v1"


class Advance(msgspec.Struct, frozen=True, array_like=True):
    """One record of the topic: what its writer knew, whose key signs, the new heads."""

    version: int
    prev: bytes
    key: bytes
    moves: list[LastHead]


class _State(NamedTuple):
    """What the advances up to an offset make."""

    heads: dict[str, LastHead]
    chain: bytes
    next: int


class LogHeads:
    """A HeadStore in a topic, with the folder's own (`local`) beside it; `public` is the key that signs."""

    shared = True

    def __init__(self, log: Log, place: TopicPartition, local: HeadStore, public: bytes) -> None:
        self.log = log
        self.place = place
        self.local = local
        self.public = public
        self._state = _State({}, _start(place), 0)

    def load(self) -> dict[str, LastHead]:
        """Return all last heads by origin; raises Detected where the topic is not what it was."""
        own = self.local.load()
        mark = own.pop(MARK, None)
        begin, end = self.log.begin(self.place), self.log.end(self.place)
        if begin > 0:
            raise self._rollback("MISSING_PREFIX", f"it begins at {begin}")
        if mark is not None and mark.size > end:
            raise self._rollback("ROLLBACK", f"it was read to {mark.size}, and holds {end}")
        if mark is not None:
            self._state = _State(dict(own), mark.root, mark.size)
        else:
            self._state = _State({}, _start(self.place), 0)
        self._follow(None)
        if mark is None and own:
            self._adopt(own)
        self._keep(own, mark)
        return dict(self._state.heads)

    def advance(self, moves: Sequence[tuple[LastHead | None, LastHead]]) -> None:
        """Replace heads by their successors: all or none, and only where the old ones stand."""
        for old, new in moves:
            if self._state.heads.get(new.origin) != old:
                raise self._lost(new.origin)
        own = self.local.load()
        mark = own.pop(MARK, None)
        said = Advance(VERSION, self._state.chain, self.public, [new for _, new in moves])
        value = msgspec.msgpack.encode(said)
        offset = self.log.append([Output(*self.place, b"heads", value)])[0]
        if offset not in self._follow(offset + 1):
            raise self._lost(moves[0][1].origin if moves else KIND)
        self._keep(own, mark)

    def replay(self) -> Iterator[list[LastHead]]:
        """Give the new heads of each advance that counts, from the first; raises Detected."""
        state = _State({}, _start(self.place), 0)
        for record in self.log.scan(self.place, 0, self._state.next):
            state, moved = self._taken(state, record)
            if moved:
                yield moved

    def close(self) -> None:
        """Release the folder's own."""
        self.local.close()

    # -- following

    def _follow(self, mark: int | None) -> set[int]:
        """Take in what was appended; returns the offsets of the advances that count."""
        counted = set()
        for record in self.log.scan(self.place, self._state.next, mark):
            self._state, moved = self._taken(self._state, record)
            if moved:
                counted.add(record.offset)
        return counted

    def _taken(self, state: _State, record: Record) -> tuple[_State, list[LastHead]]:
        heads, chain, _ = state
        value = record.value or b""
        try:
            said = msgspec.msgpack.decode(value, type=Advance)
        except msgspec.DecodeError as error:
            why = f"offset {record.offset} holds no advance"
            raise self._rollback("RECORD_DAMAGED", why) from error
        if said.version != VERSION or said.prev != chain:
            return state._replace(next=record.offset + 1), []  # another's came first
        if said.key != self.public:
            raise Detected(
                "UNKNOWN_KEY",
                "the heads in the log are signed by another key than the one that is here",
                where=self.place.topic,
                hint="Bring the log's own key to this machine, or name the token that holds it.",
            )
        moved = said.moves
        for new in moved:
            before = heads.get(new.origin)
            if before is not None and new.size < before.size:
                raise self._rollback("ROLLBACK", f"offset {record.offset} takes {new.origin} back")
        now = heads | {new.origin: new for new in moved}
        return _State(now, sha256(chain + value).digest(), record.offset + 1), moved

    def _adopt(self, own: Mapping[str, LastHead]) -> None:
        """Hold heads that this folder kept before there was a topic against it; raises Detected."""
        if not self._state.heads:
            said = Advance(VERSION, self._state.chain, self.public, list(own.values()))
            self.log.append([Output(*self.place, b"heads", msgspec.msgpack.encode(said))])
            self._follow(None)
        for origin, head in own.items():
            shared = self._state.heads.get(origin)
            if shared is None or shared.size < head.size:
                raise self._rollback("ROLLBACK", f"it knows less of {origin} than this folder")

    def _keep(self, own: Mapping[str, LastHead], mark: LastHead | None) -> None:
        """Let the folder's own last heads come up to the topic's."""
        heads, chain, following = self._state
        moves = [(own.get(o), head) for o, head in heads.items() if own.get(o) != head]
        moves.append((mark, LastHead(MARK, following, chain)))
        self.local.advance(moves)

    def _lost(self, origin: str) -> Fenced:
        return Fenced(
            f"another notary has signed a head of {origin}",
            hint="Run one notary: this one stops, and nothing of it was signed.",
        )

    def _rollback(self, code: str, why: str) -> Detected:
        return Detected(
            code,  # type: ignore[arg-type]
            f"the last heads in {self.place.topic}: {why}",
            where=self.place.topic,
            hint="Bring the topic back as it was; nothing was signed.",
        )


class Unkept:
    """A folder's own last heads where there is no folder: for readers, who keep nothing."""

    shared = False

    def __init__(self) -> None:
        self._heads: dict[str, LastHead] = {}

    def load(self) -> dict[str, LastHead]:
        """Return what was advanced so far."""
        return dict(self._heads)

    def advance(self, moves: Sequence[tuple[LastHead | None, LastHead]]) -> None:
        """Take heads up."""
        self._heads |= {new.origin: new for _, new in moves}

    def replay(self) -> Iterator[list[LastHead]]:
        """Return nothing: only the last heads are kept."""
        return iter(())

    def close(self) -> None:
        """Release nothing."""


def _start(place: TopicPartition) -> bytes:
    return sha256(START + b"\n" + place.topic.encode()).digest()
