"""The file-drop gateway to the SWIFT interface: a folder with `in/`, `out/` and `archive/`.

In: a file is read whole, cut into inputs, and each becomes one record of the intake topic; only then
does it move to `archive/<date>/`. A crash in between means that it is read again, which is harmless:
commands are known by their content. Out: an effect worker writes each message once, whole, under a
name of its own. Nothing is judged here, but card numbers: what holds one is recorded and archived masked
(or with tokens), and the file itself is removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from usance.adapters.intake import CARDS, FILE_DIGEST, INPUT_DIGEST, ORDINAL, SIZE, SOURCE
from usance.crypto.card_policy import CardPolicy, Kept
from usance.domain.message_exchange import (
    MessageAbandoned,
    MessageQueued,
    MessageRepaired,
    MessageSent,
    RecordSent,
)
from usance.engine.history import History
from usance.engine.reactors.reactor import Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import Clock, date_text, iso
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable, Unreadable
from usance.kernel.ids import derived, partition_of
from usance.log.contract import Log, Output, Record, header
from usance.messages.inputs import split_inputs
from usance.messages.sealed import Raw
from usance.messages.swift.acks import acknowledge
from usance.messages.swift.fin import Message, build, parse
from usance.messages.swift.validation import validate

FILE_LIMIT = 64_000_000
"""Bytes of one file that are still taken."""

INPUT_MAX = 3_000_000
"""Bytes of one input that one record of the log can hold with its headers."""

APPEND_RECORDS, APPEND_BYTES = 1_000, 4_000_000
UNFINISHED = (".tmp", ".part")
OUT_ACTOR = Actor("swift-gateway", "", "gateway")

_SAFE = re.compile(r"[^A-Za-z0-9_-]")


class _Seen(NamedTuple):
    """What a file looked like, and since when (monotonic seconds) it has looked so."""

    size: int
    changed: int
    inode: int
    since: float


DIGEST = "sha256:"
"""Begins the note of a message of which no copy is kept."""


class FileDrop:
    """Takes files from `in/` in the order of their names; `trouble` says what stays there and why.

    With `raw` what is taken in is sealed, and the archive keeps the file's name alone.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        topics: Topics,
        clock: Clock,
        *,
        settle: float = 0.2,
        cards: CardPolicy | None = None,
        raw: Raw | None = None,
    ) -> None:
        self.raw = raw
        self.inbox, self.archive = make_folders(folder)
        self.log = log
        self.topics = topics
        self.clock = clock
        self.settle = settle
        self.cards = cards or CardPolicy()
        self.troubles: dict[str, str] = {}
        self.taken = 0
        self._seen: dict[str, _Seen] = {}
        self._recorded: dict[str, tuple[int, int, int]] = {}

    @property
    def trouble(self) -> str:
        """What a person should know about files that are not taken; empty when all is well."""
        return "; ".join(self.troubles[name] for name in sorted(self.troubles))

    def pending(self) -> int:
        """Return how many files wait to be taken; those in trouble are not counted."""
        return sum(name not in self.troubles for name in self._names())

    def step(self, wait: float = 0.0) -> int:
        """Take the files that are complete; returns how many inputs were recorded.

        Raises Unavailable when the log cannot be written: the file then stays where it is.
        """
        names = self._names()
        self.troubles = {name: text for name, text in self.troubles.items() if name in names}
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        self._recorded = {name: marks for name, marks in self._recorded.items() if name in names}
        done = sum(self._take(name) for name in names)
        if done == 0 and wait > 0:
            self.clock.sleep(min(wait, self.settle) if self._seen else wait)
        return done

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self.inbox)  # noqa: PTH208  names as the system has them
        except OSError as error:
            raise Unavailable(
                "the folder for incoming files cannot be read", hint=str(error.strerror)
            ) from error
        return sorted(n for n in names if not n.startswith(".") and not n.endswith(UNFINISHED))

    def _take(self, name: str) -> int:
        """Record the inputs of one file and archive it; 0 when it is not ready or in trouble."""
        path = self.inbox / name
        try:
            if not self._complete(name, path):
                return 0
            data = _read_whole(path)
        except FileNotFoundError:
            self._seen.pop(name, None)  # somebody took it back before it was read
            return 0
        except OSError as error:
            self._object(name, f"cannot be read ({error.strerror}): let this account read it")
            return 0
        if data is None:
            self._seen.pop(name, None)
            return 0
        inputs = split_inputs(data)
        if any(len(one) > INPUT_MAX for one in inputs):
            self._object(name, f"holds one input of more than {INPUT_MAX:,} bytes: split it")
            return 0
        kept = [self.cards.kept(one) for one in inputs]
        clean = None
        if any(k.data != one for k, one in zip(kept, inputs, strict=True)):
            data = clean = b"\n".join(k.data for k in kept)
        if self._recorded.get(name) == self._seen[name][:3]:
            self._put_away(name, path, clean)  # it stayed because the archive was full or closed
            return 0
        self._record(name, data, kept)
        self._recorded[name] = self._seen[name][:3]
        self._put_away(name, path, clean)
        self.taken += 1
        return max(len(inputs), 1)

    def _complete(self, name: str, path: Path) -> bool:
        """Tell whether a file may be read: a plain file that has kept its size for a while."""
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            self._object(name, "is no plain file: put files themselves into the folder")
            return False
        if found.st_size > FILE_LIMIT:
            self._object(name, f"is larger than {FILE_LIMIT:,} bytes: split it")
            return False
        now = self.clock.monotonic()
        seen = self._seen.get(name)
        marks = (found.st_size, found.st_mtime_ns, found.st_ino)
        if seen is None or seen[:3] != marks:
            self._seen[name] = seen = _Seen(*marks, now)
        return now - seen.since >= self.settle

    def _object(self, name: str, why: str) -> None:
        shown = name.encode("utf-8", "replace").decode()
        self.troubles[name] = f"in/{shown} {why}"

    def _record(self, name: str, data: bytes, inputs: list[Kept]) -> None:
        """Append one intake record per input, in order, all in one partition."""
        topic = self.topics.name("trade", "intake")
        partition = partition_of("files", self.topics.partitions)
        whole = hashlib.sha256(data).hexdigest().encode()
        batch: list[Output] = []
        size = 0
        for ordinal, (value, refusal) in enumerate(inputs, 1):
            if batch and (len(batch) == APPEND_RECORDS or size + len(value) > APPEND_BYTES):
                self.log.append(batch)
                batch, size = [], 0
            headers = (
                (SOURCE, os.fsencode(name)),
                (ORDINAL, str(ordinal).encode()),
                (FILE_DIGEST, whole),
                (INPUT_DIGEST, hashlib.sha256(value).hexdigest().encode()),
                (SIZE, str(len(value)).encode()),
                *([(CARDS, refusal.encode())] if refusal else []),
            )
            key = os.fsencode(name) + b"#" + str(ordinal).encode()
            if self.raw is not None:
                value = self.raw.seal(key, value, date_text(self.clock.now()))
            batch.append(Output(topic, partition, key, value, headers))
            size += len(value)
        if batch:
            self.log.append(batch)

    def _put_away(self, name: str, path: Path, clean: bytes | None) -> None:
        """Move a recorded file to the archive; never over another one.

        Where it held card numbers, `clean` is archived and the file removed: its bytes may stay on the
        medium until they are overwritten, as with every file.
        """
        folder = self.archive / date_text(self.clock.now())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target, number = folder / name, 1
            while os.path.lexists(target):
                number += 1
                target = folder / f"{name}.{number}"
            if self.raw is not None:
                os.truncate(path, 0)
                path.rename(target)
            elif clean is None:
                path.rename(target)
            else:
                target.write_bytes(clean)
                path.unlink()
                sync_folder(self.inbox)
            sync_folder(folder)
            self.troubles.pop(name, None)
        except FileNotFoundError:
            self.troubles.pop(name, None)  # taken back after it was recorded: that stands
        except OSError as error:
            why = f"is recorded and cannot be archived ({error.strerror}): free the archive"
            self._object(name, why)
        self._seen.pop(name, None)


class FinOut:
    """Writes each queued or repaired message to `out/<MUR>-<attempt>.fin`, then says so.

    `react` is for a reactor on the events of trade. A copy is kept in `archive/sent/`: what stands
    there was handed over and is never written again, even when the interface has taken the file.
    `history` tells which messages were abandoned while they waited, and which were handed over from
    another machine's folder: these are not written. `keeps` says whether the copy is the message, or its
    digest alone.
    """

    def __init__(
        self, folder: Path, decoder: Any, history: History | None = None, *, keeps: bool = True
    ) -> None:
        make_folders(folder)
        self.keeps = keeps
        self.history = history
        self.out = folder / "out"
        self.sent = folder / "archive" / "sent"
        self.sent.mkdir(exist_ok=True)
        self.decoder = decoder
        self.troubles: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """What a person should know about messages that were not written."""
        return "; ".join(self.troubles.values())

    def react(self, record: Record) -> list[Outgoing]:
        """Write the message of a record and return the command that says it was handed over.

        Raises Unavailable when the folder cannot be written: the reactor tries again.
        """
        name = (header(record.headers, "ce_type") or b"").decode().rsplit(".", 1)[-1]
        if name not in ("MessageQueued", "MessageRepaired"):
            return []
        event = self.decoder.message(record.headers, record.value)
        if not isinstance(event, MessageQueued | MessageRepaired):
            return []
        attempt = event.attempt if isinstance(event, MessageRepaired) else 1
        if self._settled((record.key or b"").decode(), attempt):
            return []
        file = f"{_SAFE.sub('_', event.message)}-{attempt}.fin"
        data = event.text.text.encode()
        digest = hashlib.sha256(data).hexdigest()
        if not self._write(file, data, digest):
            return []
        event_id = (header(record.headers, "ce_id") or b"").decode()
        command = RecordSent(file=file, sha256=digest)
        correlation = self.decoder.meta(record.headers).correlation
        return [
            Outgoing(
                (record.key or b"").decode(),
                command,
                derived(event_id, "sent"),
                f"event:{event_id}",
                correlation,
                OUT_ACTOR,
            )
        ]

    def _settled(self, stream: str, attempt: int) -> bool:
        past = self.history.stream(stream) if self.history is not None else []
        return any(
            isinstance(p.message, MessageAbandoned)
            or (isinstance(p.message, MessageSent) and p.message.attempt == attempt)
            for p in past
        )

    def _write(self, file: str, data: bytes, digest: str) -> bool:
        kept, target, draft = self.sent / file, self.out / file, self.sent / f".{file}.tmp"
        try:
            for known in (kept, target):
                if known.exists() and _digest_of(known) != digest:
                    self.troubles[file] = f"{file} exists with another text: nothing was sent"
                    return False
            if kept.exists():
                return True
            if draft.exists() and draft.stat().st_nlink > 1:
                # It was handed over just before an end of the program: only the name is missing.
                # Writing it again would change the file under the eyes of the interface.
                self._keep(draft, kept, digest)
                return True
            draft.unlink(missing_ok=True)
            with draft.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if not target.exists():
                # The link makes the whole file appear at once; the kept copy follows it.
                os.link(draft, target)
                sync_folder(self.out)
            self._keep(draft, kept, digest)
        except OSError as error:
            raise Unavailable(
                "outgoing messages cannot be written",
                hint=f"Free the folder ({error.strerror}); messages wait in order.",
            ) from error
        self.troubles.pop(file, None)
        return True

    def _keep(self, draft: Path, kept: Path, digest: str) -> None:
        """Leave word that a message was handed over: its copy, or its digest."""
        if self.keeps:
            draft.rename(kept)
        else:
            note = self.sent / f".{kept.name}.note"
            note.write_text(DIGEST + digest, encoding="ascii")
            note.rename(kept)
            draft.unlink()
        sync_folder(self.sent)


def _digest_of(file: Path) -> str:
    """Return the SHA-256 of a message that was handed over, from its copy or the note of it."""
    data = file.read_bytes()
    if data.startswith(DIGEST.encode()):
        return data.decode("ascii").removeprefix(DIGEST)
    return hashlib.sha256(data).hexdigest()


class Loopback:
    """Stand-in for the SWIFT network in demonstrations: it answers each outgoing file itself.

    A file that waited `delay` seconds in `out/` is moved to `archive/loopback/`, and an ACK comes to
    `in/`; a message that breaks a rule of the current release gets a NAK, as the network would.
    """

    def __init__(
        self, folder: Path, clock: Clock, *, delay: float = 1.0, keeps: bool = True
    ) -> None:
        self.keeps = keeps
        self.inbox, archive = make_folders(folder)
        self.out = folder / "out"
        self.done = archive / "loopback"
        self.done.mkdir(exist_ok=True)
        self.clock = clock
        self.delay = delay
        self._since: dict[str, float] = {}

    def pending(self) -> int:
        """Return how many messages wait for their answer."""
        return sum(1 for _ in self.out.glob("*.fin"))

    def step(self, wait: float = 0.0) -> int:
        """Answer what has waited long enough; returns how many messages."""
        done = 0
        for path in sorted(self.out.glob("*.fin")):
            since = self._since.setdefault(path.name, self.clock.monotonic())
            if self.clock.monotonic() - since >= self.delay:
                with suppress(FileNotFoundError):  # another process over this folder was faster
                    self._answer(path)
                    done += 1
        if done == 0 and wait > 0:
            self.clock.sleep(wait)
        return done

    def _answer(self, path: Path) -> None:
        try:
            message = parse(path.read_bytes())
        except Unreadable:
            message = None
        if message is not None:
            data = build(self._verdict(message, path.stem))
            draft = self.inbox / f".{path.stem}.tmp"
            draft.write_bytes(data)
            draft.rename(self.inbox / f"loopback-{path.stem}.fin")
        if self.keeps:
            path.rename(self.done / path.name)
        else:
            path.unlink()
        self._since.pop(path.name, None)

    def _verdict(self, message: Message, stem: str) -> Message:
        """Return ACK or NAK; session 9999 marks it, the sequence tells attempts apart."""
        attempt = stem.rpartition("-")[2]
        now = iso(self.clock.now())
        stamp = now[2:4] + now[5:7] + now[8:10] + now[11:13] + now[14:16]
        found = next((f for f in validate(message) if f.code), None)
        code, line = (found.code or "", found.line or 0) if found else ("", 0)
        answer = acknowledge(message, stamp, error=code, line=line)
        basic = answer.basic.__class__(
            answer.basic.app, "21", answer.basic.lt, "9999", attempt.rjust(6, "0")[-6:]
        )
        return Message(basic=basic, fields=answer.fields, tagged=True)


def make_folders(folder: Path) -> tuple[Path, Path]:
    """Make the folders of a drop where they are missing; returns those for input and archive."""
    for name in ("in", "out", "archive"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / "in", folder / "archive"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_whole(path: Path) -> bytes | None:
    """Return a file's bytes, None when it changed while it was read; never follows a link."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as stream:
        before = os.fstat(handle)
        data = stream.read(FILE_LIMIT + 1)
        after = os.fstat(handle)
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return data if same and len(data) == after.st_size else None
