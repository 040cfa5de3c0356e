"""Which streams a pack holds: one pass over a partition counts its streams and learns what belongs to what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from usance.audit.codes import Detected
from usance.audit.pack import Index, StreamIndexed
from usance.audit.tiles import TILE_WIDTH, Tiles
from usance.kernel.clock import iso, parse_instant
from usance.kernel.decider import key_of, key_parts
from usance.kernel.errors import NotFound, Refused, Unreadable, UsanceError
from usance.log.contract import Record, header

QUERIES = ("stream", "correlation", "actor", "type")
LINKS = ("subject_stream", "subject")
ENTRY_HASH = slice(30, 62)
"""Where an entry of a tree has the envelope hash."""


class Request(NamedTuple):
    """What a pack is to hold. `known_at` is a number of heads (-1: all), or a saved head's bytes."""

    kind: str
    value: str
    as_of: str = ""
    known_at: int | bytes = -1
    case: str = ""
    reveal: bool = False
    reason: str = ""

    @property
    def told(self) -> str:
        """The scope in a few words."""
        return f"{self.kind} {self.value}"

    def later(self, record: Record) -> bool:
        """Tell whether a record is later than the pack looks."""
        return bool(self.as_of) and time_of(record) > self.as_of


class Counted:
    """One stream of a partition: its offsets, and its last event's index and envelope hash."""

    __slots__ = ("hashed", "last", "link", "matches", "offsets")

    def __init__(self, link: str) -> None:
        self.offsets: list[int] = []
        self.last = -1
        self.hashed = b""
        self.link = link
        """The stream that this one belongs to, as its first event says; empty for none."""
        self.matches = False


class Scan:
    """The streams of one partition's first `size` events."""

    def __init__(
        self, folder: str, tree: Tiles, records: Iterable[Record], decoder: Any, request: Request
    ) -> None:
        self.folder = folder
        self.size = tree.size
        self.streams: dict[str, Counted] = {}
        match = _matching(request, decoder)
        sealed = _hashes(tree)
        index = -1
        for index, (record, hashed) in enumerate(zip(records, sealed, strict=False)):
            stream = (record.key or b"").decode()
            found = self.streams.get(stream)
            if found is None:
                found = self.streams[stream] = Counted(_link(stream, record, decoder))
            found.offsets.append(record.offset)
            found.last, found.hashed = index, hashed
            found.matches = found.matches or match(stream, record)
        if index + 1 != tree.size:
            raise Detected(
                "ROLLBACK", f"{tree.size} records of {folder} were sealed, {index + 1} are there"
            )

    def index(self) -> Index:
        """Return the index of this partition."""
        found = self.streams.items()
        return Index(
            self.size, [StreamIndexed(s, len(c.offsets), c.last, c.hashed) for s, c in found]
        )


def _hashes(tree: Tiles) -> Iterator[bytes]:
    """Yield the envelope hashes that a tree has sealed."""
    for number in range(-(-tree.size // TILE_WIDTH)):
        for entry in tree.bundle(number):
            yield entry[ENTRY_HASH]


def _link(stream: str, first: Record, decoder: Any) -> str:
    """Return the stream to which another one belongs, as its first event names it."""
    tenant, category, _ = key_parts(stream)
    if category == "credit":
        return ""
    try:
        message = decoder.message(first.headers, first.value)
    except UsanceError:
        return ""
    for name in LINKS:
        if found := getattr(message, name, ""):
            return str(found)
    credit = getattr(message, "credit", "")
    return key_of(tenant, "credit", credit) if credit else ""


def _matching(request: Request, decoder: Any) -> Callable[[str, Record], bool]:
    """Return what tells whether a record answers the query."""
    if request.kind != "query":
        return lambda _, __: False
    field, _, wanted = request.value.partition("=")
    if field not in QUERIES or not wanted:
        raise Refused(
            "UNKNOWN_QUERY",
            f"{request.value} is no query",
            hint=f"Such as {' or '.join(f'{name}=...' for name in QUERIES)}.",
        )
    if field == "stream":
        return lambda stream, _: fnmatchcase(stream, wanted)
    if field == "type":
        ending = b"." + wanted.encode()
        return lambda _, record: (header(record.headers, "ce_type") or b"").endswith(ending)

    def meta(_: str, record: Record) -> bool:
        said = decoder.meta(record.headers)
        found: str = said.correlation if field == "correlation" else said.actor.person
        return found == wanted

    return meta


def scope_of(request: Request, scans: Iterable[Scan], tenant: str) -> set[str]:
    """Return the streams in scope: a credit with all that belongs to it, or those that answer a query.

    Raises NotFound where there is none.
    """
    everything = {s: c for scan in scans for s, c in scan.streams.items()}
    if request.kind == "query":
        found = {stream for stream, counted in everything.items() if counted.matches}
    else:
        credit = request.value if "/" in request.value else key_of(tenant, "credit", request.value)
        found = {credit} & everything.keys()
        grown = True
        while grown and found:
            more = {s for s, c in everything.items() if c.link in found} - found
            found |= more
            grown = bool(more)
    if not found:
        raise NotFound(
            f"nothing is sealed under {request.told}",
            hint="Check the reference; what was written in the last second is sealed in the next.",
        )
    return found


def time_of(record: Record) -> str:
    """Return a record's deciding instant as text."""
    return (header(record.headers, "ce_time") or b"").decode()


def instant_of(text: str) -> str:
    """Return an instant as records carry it; a day means its end. Raises Unreadable."""
    try:
        return iso(parse_instant(text if "T" in text else f"{text}T23:59:59.999Z"))
    except ValueError as error:
        raise Unreadable(
            "validate",
            f"{text} is no instant",
            hint="Such as 2026-11-24, or 2026-11-24T12:00:00Z.",
        ) from error
