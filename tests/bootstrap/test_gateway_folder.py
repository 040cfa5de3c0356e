"""The gateway's folder at its worst moments: torn hand-overs, messages taken back, an archive that is shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from usance.adapters.swift_files import FileDrop, FinOut
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.domain.message_exchange import FinText, MessageAbandoned, MessageQueued, MessageSent
from usance.engine.history import History
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.decider import Actor
from usance.log.contract import Output, Record
from usance.messages import catalogue
from usance.messages.envelope import Decoder, Encoder
from usance.messages.registry import registered
from usance.testing.sim_log import SimulatedLog

STREAM = "albion/message/U700ABC"
TEXT = "{1:whole text}"


class Killed(BaseException):
    """Stands for SIGKILL."""


class Events:
    """One message stream in a log, and what reads it."""

    def __init__(self) -> None:
        known = catalogue.default()
        registry = registered(known)
        self.topics = Topics("usance", 1)
        self.log = SimulatedLog(BookClock(1))
        for settings in self.topics.settings():
            self.log.create_topic(settings)
        self.encoder = Encoder(log_id="log", catalogue=known, registry=registry)
        self.decoder = Decoder(catalogue=known, registry=registry)
        self.history = History(self.log, self.topics, self.decoder)

    def add(self, event: Any) -> Record:
        key, value, headers = self.encoder.command(
            event, key=STREAM, command_id="e", tenant="albion", actor=Actor("", "", ""), at=1
        )
        place = self.topics.at("trade", "events", 0)
        self.log.append([Output(place.topic, 0, key, value, headers)])
        return list(self.log.scan(place, 0))[-1]

    def queued(self) -> Record:
        return self.add(
            MessageQueued(
                message="U700ABC",
                mt="700",
                receiver="BBBBSGSG",
                credit="C1",
                text=FinText(subject="C1", text=TEXT),
                sha256="",
            )
        )


def test_a_message_handed_over_just_before_a_crash_is_neither_torn_nor_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Events()
    record = events.queued()
    real = Path.rename

    def dying(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            FinOut(tmp_path, events.decoder).react(record)
    out = tmp_path / "out" / "U700ABC-1.fin"
    assert out.read_text() == TEXT
    reader = out.open()  # the interface has begun to read, and moves the file when it is done
    taken = tmp_path / "taken.fin"
    out.rename(taken)
    inode, changed = taken.stat().st_ino, taken.stat().st_mtime_ns
    (said,) = FinOut(tmp_path, events.decoder).react(record)
    assert said.command.file == "U700ABC-1.fin"
    assert reader.read() == TEXT
    assert (taken.stat().st_ino, taken.stat().st_mtime_ns) == (inode, changed), "written again"
    assert list((tmp_path / "out").iterdir()) == [], "sent a second time"
    reader.close()


def test_a_message_that_was_abandoned_while_the_folder_was_shut_is_not_sent(tmp_path: Path) -> None:
    events = Events()
    record = events.queued()
    worker = FinOut(tmp_path, events.decoder, events.history)
    events.add(MessageAbandoned(message="U700ABC", cause="voided"))
    assert worker.react(record) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_a_message_that_another_machine_handed_over_is_not_sent_again(tmp_path: Path) -> None:
    events = Events()
    record = events.queued()
    about = {"message": "U700ABC", "mt": "700", "credit": "C1"}
    sent = MessageSent(**about, file="U700ABC-1.fin", sha256="", attempt=1)
    events.add(sent)
    worker = FinOut(tmp_path, events.decoder, events.history)
    assert worker.react(record) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_cannot_be_archived_is_recorded_once(tmp_path: Path) -> None:
    events = Events()
    drop = FileDrop(tmp_path, events.log, events.topics, SystemClock(), settle=0.0)
    (tmp_path / "in" / "x.fin").write_bytes(b"{1:anything}")
    shut = tmp_path / "archive"
    shut.rmdir()
    shut.write_bytes(b"a file where the folder should be")
    intake = events.topics.at("trade", "intake", 0)
    for _ in range(5):
        drop.step()
    assert len(list(events.log.scan(intake, 0))) == 1
    assert "cannot be archived" in drop.trouble
    shut.unlink()
    drop.step()
    assert list((tmp_path / "in").iterdir()) == []
    assert drop.trouble == ""
    (tmp_path / "in" / "x.fin").write_bytes(b"{1:something else}")
    drop.step()
    assert len(list(events.log.scan(intake, 0))) == 2, "another file of the same name is taken"


def test_a_file_that_cannot_be_taken_is_named_in_the_health_of_the_program(tmp_path: Path) -> None:
    runtime = Runtime(Folder(tmp_path), Settings(), screener=cast(Any, object()))
    try:
        (runtime.folder.gateway / "in" / "folder.fin").mkdir()
        runtime.drop.step()
        assert "folder.fin" in runtime.health()["trouble"]["file-drop"]
    finally:
        runtime.close()
