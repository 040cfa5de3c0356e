"""Sanctions lists: what an entry is, a list with its version and hash, and the gate before it is used.

The publishers' files are read by `list_formats`. A list is a whole file: changes are computed by us.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import UTC, date, datetime
from functools import cache

import msgspec

from usance.aml.names import DATA
from usance.kernel.errors import Unreadable

MAX_FILE_BYTES = 512 * 1024 * 1024
"""A list file may unpack to this much; the largest published one is under a quarter of it."""

STRONG, WEAK = "strong", "weak"
COUNT_OUTSIDE_RANGE = "COUNT_OUTSIDE_RANGE"


class Alias(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A name of an entry. `quality` is strong or weak; `kind` is primary, aka, fka, nka or script."""

    name: str
    quality: str = STRONG
    kind: str = "aka"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A listed person, organisation, vessel or aircraft.

    `names` starts with the primary name; `births` are ISO dates or their year, or YYYY/YYYY ranges;
    `countries` are ISO 3166 alpha-2; `ids` are "KIND:value" with KIND one of IMO, MMSI, BIC, LEI,
    PASSPORT, TAX, REG, CRYPTO, ID; `digest` is the SHA-256 of the content, so a change is seen.
    """

    uid: str
    kind: str
    names: tuple[Alias, ...]
    programs: tuple[str, ...] = ()
    births: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    digest: str = ""

    def sealed(self) -> Entry:
        """Return the entry with its digest."""
        bare = msgspec.structs.replace(self, digest="")
        return msgspec.structs.replace(
            self, digest=hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
        )


class ListSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded, right now: the line that `usance list show` prints."""

    list_id: str
    source: str
    version: str
    sha256: str
    entries: int
    names: int
    age_days: int
    note: str


class ListInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A list without its entries: what a compiled index remembers of where it came from."""

    list_id: str
    source: str
    version: str
    sha256: str
    entries: int
    names: int
    loaded_at: int
    sample: bool

    @property
    def label(self) -> str:
        """The version as decisions record it: publisher's date, hash and number of entries."""
        return f"{self.version}+{self.sha256[:16]}+{self.entries}"

    def summary(self, instant: int) -> ListSummary:
        """Return what is loaded and how old it is at `instant` (ms UTC)."""
        today = datetime.fromtimestamp(instant // 1000, UTC).date()
        return ListSummary(
            list_id=self.list_id,
            source=self.source,
            version=self.version,
            sha256=self.sha256,
            entries=self.entries,
            names=self.names,
            age_days=(today - date.fromisoformat(self.version)).days,
            note="sample data, stale" if self.sample else "",
        )


class ListSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one list. `version` is the publisher's date; `sha256` is of the bytes received.

    `loaded_at` is ms UTC of the import (0: shipped with the product); `sample` marks test material.
    """

    list_id: str
    source: str
    version: str
    sha256: str
    entries: tuple[Entry, ...]
    loaded_at: int = 0
    sample: bool = False

    @property
    def info(self) -> ListInfo:
        """The list without its entries."""
        return ListInfo(
            list_id=self.list_id,
            source=self.source,
            version=self.version,
            sha256=self.sha256,
            entries=len(self.entries),
            names=sum(len(e.names) for e in self.entries),
            loaded_at=self.loaded_at,
            sample=self.sample,
        )

    def summary(self, instant: int) -> ListSummary:
        """Return what is loaded and how old it is at `instant` (ms UTC)."""
        return self.info.summary(instant)


class GateFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A reason to doubt a list; `blocks` says whether it forbids activation.

    `code` is EMPTY_LIST, DUPLICATE_UID, COUNT_OUTSIDE_RANGE, OLDER_THAN_ACTIVE or NAME_NOT_FOUND.
    """

    code: str
    message: str
    blocks: bool = True


def check_counts(
    new: ListSnapshot, previous: ListInfo | None, *, approve_count: bool = False
) -> tuple[GateFinding, ...]:
    """Return what the size and identity of a new list version give reason to doubt.

    Against the previous version the number of entries may fall by 2 % or grow by 10 %; more needs
    a person's approval, because a truncated download looks exactly like a mass delisting.
    """
    found = []
    if not new.entries:
        found.append(GateFinding(code="EMPTY_LIST", message=f"{new.list_id} has no entries"))
    uids = [e.uid for e in new.entries]
    if len(set(uids)) != len(uids):
        text = f"{new.list_id} holds {len(uids) - len(set(uids))} repeated identifiers"
        found.append(GateFinding(code="DUPLICATE_UID", message=text))
    if previous is not None and previous.entries:
        before, now = previous.entries, len(uids)
        if outside_range(before, now):
            text = f"{new.list_id} had {before} entries and now has {now} (allowed: -2 % to +10 %)"
            found.append(
                GateFinding(code=COUNT_OUTSIDE_RANGE, message=text, blocks=not approve_count)
            )
        if new.version < previous.version:
            text = f"{new.list_id} {new.version} is older than the active {previous.version}"
            found.append(GateFinding(code="OLDER_THAN_ACTIVE", message=text))
    return tuple(found)


def outside_range(before: int, now: int) -> bool:
    """Tell whether a list's number of entries fell by more than 2 % or grew by more than 10 %."""
    return not (98 * before <= 100 * now <= 110 * before)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a list version brings against another: identifiers of entries, in order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def changes(old: ListSnapshot | None, new: ListSnapshot) -> Changes:
    """Return what changed from one version of a list to another; None: all of it is new."""
    before = {e.uid: e.digest for e in old.entries} if old is not None else {}
    now = {e.uid: e.digest for e in new.entries}
    return Changes(
        added=tuple(uid for uid in now if uid not in before),
        changed=tuple(uid for uid, digest in now.items() if before.get(uid, digest) != digest),
        removed=tuple(uid for uid in before if uid not in now),
    )


def packed(snapshot: ListSnapshot) -> bytes:
    """Return a list as the bytes that are kept: our own form, so that no parser is asked again.

    When it was loaded is no part of them: the same file has the same digest tomorrow.
    """
    timeless = msgspec.structs.replace(snapshot, loaded_at=0)
    return zlib.compress(msgspec.msgpack.encode(timeless), 9)


def unpack(data: bytes) -> ListSnapshot:
    """Return the list in kept bytes; raises Unreadable."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=ListSnapshot)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise Unreadable("list", "kept bytes are no list", hint="import the list again") from error


def unpacked(data: bytes) -> bytes:
    """Return a list file's bytes, unpacked when it is gzip; raises Unreadable when too large."""
    if data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_FILE_BYTES + 1)
        except zlib.error as error:
            raise Unreadable(
                "list", "the gzip file is damaged", hint="fetch the file again"
            ) from error
        if not unpacker.eof and len(data) <= MAX_FILE_BYTES:
            raise Unreadable("list", "the gzip file is cut short", hint="fetch the file again")
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(
            "list",
            f"the file is larger than {MAX_FILE_BYTES} bytes",
            hint="check that this is a list file",
        )
    return data


def country_code(name: str) -> str:
    """Return the ISO 3166 alpha-2 code of a country's name or code; empty when unknown."""
    text = " ".join(name.replace(",", " ").replace("-", " ").split())
    if len(text) == 2 and text.isascii() and text.isalpha():
        upper = text.upper()
        return {"UK": "GB"}.get(upper, upper)
    return countries().get(text.lower(), "")


@cache
def countries() -> dict[str, str]:
    """Load country names by lower-case spelling (data/reference/PROVENANCE.md)."""
    table: dict[str, str] = json.loads((DATA / "reference" / "countries.json").read_bytes())
    return table


def sha256_of(*parts: bytes) -> str:
    """Return the SHA-256, in hex, of the files of a list in the order given."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
