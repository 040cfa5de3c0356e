"""Putting tiles and packs into the safe, beside the heads that the notary's attestor puts there; and checking it.

What is deposited never changes: full tiles and bundles (a partial one is put in when it is full), and packs by the
SHA-256 of their bytes. A check holds each object against its name, against the log's tiles, and against what
should hold it: a retention in COMPLIANCE mode, one version, no marker that hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from usance.audit.codes import Code, Detected
from usance.audit.note import open_note
from usance.audit.ports import Kept, WormStore
from usance.audit.report import Finding
from usance.audit.tiles import paths
from usance.bootstrap.packs.auditing import Evidence
from usance.engine.proof.attesting import ANCHORS, HEAD
from usance.engine.proof.sealing import folder_of
from usance.engine.verify import chained
from usance.kernel.errors import NotFound, Unavailable

TILES, PACKS = "log/", "packs/"
LOCKED = "COMPLIANCE"

Tell = Callable[[str], None]


class Deposited(NamedTuple):
    """How many objects and bytes were put into the safe, and how many were there already."""

    objects: int
    bytes: int
    known: int


class SafeReport(NamedTuple):
    """What a check of the safe found; `locked` counts what a retention holds."""

    place: str
    objects: int
    bytes: int
    locked: int
    findings: list[Finding]


def deposit(
    found: Evidence,
    packs: Sequence[Path],
    tell: Tell = lambda _: None,
    *,
    dry_run: bool = False,
) -> Deposited:
    """Put every full tile and bundle, and these packs, into the safe; raises Detected, Unavailable, NotFound.

    With `dry_run` it is only counted what would be put there.
    """
    safe = found.safe()
    known, objects, size, skipped = set(safe.names(TILES)), 0, 0, 0
    for folder in _folders(found):
        full = [path for path in paths(_size(found, folder)) if ".p/" not in path]
        for path in full:
            name = f"{TILES}{folder}/{path}"
            if name in known:
                skipped += 1
                continue
            data = found.tiles.read(f"{folder}/{path}")
            if not dry_run:
                safe.put(name, data)
            objects, size = objects + 1, size + len(data)
        if full:
            tell(f"{folder}: {len(full):,} tiles and bundles")
    for pack in packs:
        data = _read(pack)
        if not dry_run:
            safe.put(pack_name(data), data)
        objects, size = objects + 1, size + len(data)
        tell(f"{pack}: {pack_name(data)}")
    return Deposited(objects, size, skipped)


def pack_name(data: bytes) -> str:
    """Return the name that a pack has in a safe."""
    return f"{PACKS}{sha256(data).hexdigest()}.zip"


def check(found: Evidence, now: int) -> SafeReport:
    """Hold everything in the safe against its name, the log's tiles, and what should hold it."""
    safe = found.safe()
    findings: list[Finding] = []
    objects = size = locked = 0
    holds = bool(found.settings.proof.safe)
    for prefix in (f"{ANCHORS}/", TILES, PACKS):
        for kept in safe.kept(prefix):
            objects, size = objects + 1, size + kept.size
            locked += kept.mode == LOCKED and kept.until > now
            if holds:
                findings += _loose(kept, now)
            wrong = _wrong(found, safe, kept.name)
            if wrong is not None:
                findings.append(wrong)
    return SafeReport(safe.place, objects, size, locked, findings)


def _loose(kept: Kept, now: int) -> list[Finding]:
    """Return what shows that an object is not held, or that somebody put another over it."""
    said = []
    if kept.mode != LOCKED or kept.until <= now:
        said.append("no retention in COMPLIANCE mode holds it any longer")
    if kept.versions > 1:
        said.append(f"{kept.versions} versions are under its name: the first counts")
    if kept.hidden:
        said.append("a marker pretends that it was deleted: it is there")
    return [_finding("ANCHOR_MISMATCH", kept.name, why) for why in said]


def _wrong(found: Evidence, safe: WormStore, name: str) -> Finding | None:
    data = safe.read(name)
    if name.startswith(PACKS):
        if name != pack_name(data):
            return _finding("PACK_ALTERED", name, "its bytes are not those of its name")
    elif name.startswith(TILES):
        try:
            if found.tiles.read(name.removeprefix(TILES)) != data:
                return _finding("TILE_MISMATCH", name, "the log has other bytes in this place")
        except FileNotFoundError:
            return _finding("ROLLBACK", name, "the log has it no more")
    elif name.endswith(HEAD):
        try:
            open_note(data, [found.policy.log(found.origins.heads)])
        except Detected as wrong:
            return _finding(wrong.code, name, wrong.reason)
    return None


def _finding(code: Code, where: str, reason: str) -> Finding:
    hint = "Keep a copy of everything as evidence; the safe's first version is the one to believe."
    return Finding(code=code, where=where, reason=reason, hint=hint)


def _folders(found: Evidence) -> list[str]:
    heads = found.origins.folder(found.origins.heads)
    return [heads, *sorted(folder_of(place) for place in chained(found.store.log))]


def _size(found: Evidence, folder: str) -> int:
    try:
        return found.signed(folder).size
    except NotFound:
        return 0


def _read(pack: Path) -> bytes:
    try:
        return pack.read_bytes()
    except OSError as error:
        raise Unavailable(
            f"the pack {pack} cannot be read: {error.strerror}", hint="Name a file with --pack."
        ) from error
