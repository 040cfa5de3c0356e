"""The compiled index of all active lists: built once per snapshot, kept on disk by its hash.

Screening searches the *distinct tokens* of the lists, not their names: some 20,000 short strings
instead of 29,000 long ones. An index is immutable and safe to read from many threads.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from usance.aml.lists import STRONG, Entry, ListInfo, ListSnapshot
from usance.aml.names import (
    GENERIC_TOKENS,
    NORMALISER_VERSION,
    STOP_TOKENS,
    Name,
    is_significant,
    number_of,
    prepare,
    readings,
    skeleton,
)

INDEX_VERSION = "index/2"
"""Changes with the layout or the weights; part of every snapshot id."""

USUAL_NAMES = 20_000
"""Names of a list of usual size: in a list of three, no word would seem rare."""

COMMON_DIVISOR = 500
"""A token found in more than one name in this many is common: it tells nobody apart."""


class ListedName(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One name of one entry, prepared. Token numbers point into the vocabulary; `total` is their weight."""

    entry: int
    alias: int
    tokens: tuple[int, ...]
    total: int
    significant: str
    short: bool
    forms: tuple[str, ...]
    numbers: tuple[str, ...]
    abjad: bool


class Index(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The compiled lists. All postings are ascending, so that every walk over them is in one order."""

    snapshot_id: str
    lists: tuple[ListInfo, ...]
    entries: tuple[Entry, ...]
    entry_list: list[int]
    names: tuple[ListedName, ...]
    vocabulary: list[str]
    weights: list[int]
    counts: list[int]
    postings: list[list[int]]
    skeletons: dict[str, list[int]]
    joined: dict[str, list[int]]
    pairs: dict[str, list[int]]
    identifiers: dict[str, list[int]]
    top_weight: int


def snapshot_id(lists: Sequence[ListInfo], matcher_version: str, config_digest: str) -> str:
    """Return the id of what decides: list versions, normaliser, index, matcher and configuration."""
    parts = [NORMALISER_VERSION, INDEX_VERSION, matcher_version, config_digest]
    parts += [f"{i.list_id}={i.label}={i.sha256}" for i in sorted(lists, key=lambda i: i.list_id)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_SHORT_SHARE = {1: 4, 2: 2}


def weight_of(token: str, count: int, names: int) -> int:
    """Return a token's weight, from how few of the `names` have it.

    Sixteen times the base-2 logarithm of names/count, in exact integer arithmetic so that every
    machine agrees; particles count a tenth of the top, trade words a third at most, one and two
    letters a quarter and a half. Small lists count as if `USUAL_NAMES` stood beside them.
    """
    names = max(names, USUAL_NAMES)
    top = ((names + 1) ** 16).bit_length()
    if token in STOP_TOKENS:
        return top // 10
    weight = ((names + 1) ** 16 // (count + 1) ** 16).bit_length()
    if token in GENERIC_TOKENS:
        return min(weight, top // 3)
    return min(weight, top // _SHORT_SHARE.get(len(token), 1))


def build(lists: Sequence[ListSnapshot], matcher_version: str, config_digest: str) -> Index:
    """Compile lists into an index; the order of `lists` does not matter."""
    ordered = sorted(lists, key=lambda s: s.list_id)
    entries = tuple(e for s in ordered for e in s.entries)
    prepared = _prepared(entries)
    counts: dict[str, int] = defaultdict(int)
    for _, _, _, words in prepared:
        for token in dict.fromkeys(words):
            counts[token] += 1
    vocabulary = sorted(counts)
    numbers = {t: n for n, t in enumerate(vocabulary)}
    weights = [weight_of(t, counts[t], len(prepared)) for t in vocabulary]
    names = tuple(
        _listed(entry, alias, name, [numbers[w] for w in words], words, weights)
        for entry, alias, name, words in prepared
    )
    postings: list[list[int]] = [[] for _ in vocabulary]
    for n, listed in enumerate(names):
        for t in dict.fromkeys(listed.tokens):
            postings[t].append(n)
    infos = tuple(s.info for s in ordered)
    return Index(
        snapshot_id(infos, matcher_version, config_digest),
        infos,
        entries,
        [n for n, s in enumerate(ordered) for _ in s.entries],
        names,
        vocabulary,
        weights,
        [counts[t] for t in vocabulary],
        postings,
        _grouped((skeleton(t), n) for n, t in enumerate(vocabulary)),
        _grouped((key, n) for n, p in enumerate(prepared) for key in _joined(p[3], entries[p[0]])),
        _grouped((a + b, n) for n, p in enumerate(prepared) for a, b in _neighbours(p[3])),
        _grouped((i.split(":", 1)[1].upper(), n) for n, e in enumerate(entries) for i in e.ids),
        weight_of("", 0, len(prepared)),
    )


def _prepared(entries: Sequence[Entry]) -> list[tuple[int, int, Name, tuple[str, ...]]]:
    """Return each different name of each entry once, with the words that count for its kind."""
    found = []
    for number, entry in enumerate(entries):
        seen: dict[tuple[str, ...], bool] = {}
        ranked = sorted(range(len(entry.names)), key=lambda n: entry.names[n].quality != STRONG)
        for alias in ranked:
            for text in readings(entry.names[alias].name):
                name = prepare(text, entry.kind)
                words = name.words if entry.kind == "person" else name.core
                key = (*words, "/", *name.forms)
                if words and key not in seen:
                    seen[key] = True
                    found.append((number, alias, name, words))
    return found


def _listed(
    entry: int, alias: int, name: Name, tokens: list[int], words: Sequence[str], weights: list[int]
) -> ListedName:
    significant = [w for w in words if is_significant(w)]
    return ListedName(
        entry,
        alias,
        tuple(tokens),
        sum(weights[t] for t in tokens),
        "".join(significant) or "".join(words),
        len(significant) < 2,
        name.forms,
        tuple(sorted(filter(None, map(number_of, words)))),
        name.abjad,
    )


def _joined(words: Sequence[str], entry: Entry) -> Sequence[str]:
    """Return the words written as one; a person's may begin at any of them."""
    turns = range(len(words)) if entry.kind == "person" and len(words) <= 4 else range(1)
    return ["".join((*words[at:], *words[:at])) for at in turns]


def _neighbours(words: Sequence[str]) -> Sequence[tuple[str, str]]:
    """Return adjacent words, which another spelling may write as one."""
    return [(a, b) for a, b in pairwise(words) if len(a) + len(b) > 4]


def _grouped(pairs: object) -> dict[str, list[int]]:
    """Return the numbers of each key that is not empty, each once, in order."""
    groups: dict[str, dict[int, None]] = {}
    for key, number in pairs:  # type: ignore[attr-defined]
        if key:
            groups.setdefault(key, {})[number] = None
    return {k: list(v) for k, v in groups.items()}


_MAGIC = b"usance-index-1\n"


def cached(folder: Path | None, key: str, make: Callable[[], Index]) -> Index:
    """Return the index kept in `folder` under `key`, or make it and keep it there.

    A file that is cut, altered or of another layout is made anew; a folder that cannot be written
    costs only the time of the next start.
    """
    if folder is None:
        return make()
    path = folder / f"screening-{key[:32]}.index"
    index = _load(path)
    if index is None:
        index = make()
        _save(path, index)
    return index


def _load(path: Path) -> Index | None:
    """Return the index in a file, or None when it is missing or not whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + 32
    body = memoryview(data)[head:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
        return None
    try:
        return msgspec.msgpack.decode(body, type=Index)
    except msgspec.MsgspecError:
        return None


def _save(path: Path, index: Index) -> None:
    """Write the index to a file at once: another reader sees all of it or none."""
    body = msgspec.msgpack.encode(index)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".screening-")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
