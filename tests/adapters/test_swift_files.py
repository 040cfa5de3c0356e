"""The file drop: nothing lost, nothing half read, nothing sent twice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from usance.adapters.intake import intake_reaction
from usance.adapters.swift_files import FILE_LIMIT, FileDrop, FinOut, Loopback
from usance.domain.message_exchange import FinText, MessageQueued, RecordAck, RecordNak, RecordSent
from usance.engine.reactors.reactor import Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable
from usance.log.contract import Output, Record
from usance.messages import catalogue
from usance.messages.envelope import Decoder, Encoder
from usance.messages.inputs import decode_input
from usance.messages.outcome import UnreadableInput
from usance.messages.registry import registered
from usance.testing.sim_log import SimulatedLog

sys.path.insert(0, str(Path(__file__).parents[1] / "messages" / "swift"))
from swift_samples import TEXTS, fin, sample

OURS = "BBBBSGSG"
TOPICS = Topics("usance", 4)
CLOCK = BookClock(1_796_000_000_000)


class CrashAfterAppend(SimulatedLog):
    """The log of a process that dies right after its next append is durable."""

    armed = False

    def append(self, outputs: list[Output]) -> list[int]:  # type: ignore[override]
        offsets = super().append(outputs)
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt
        return offsets


@pytest.fixture
def log() -> CrashAfterAppend:
    log = CrashAfterAppend(CLOCK)
    for settings in TOPICS.settings():
        log.create_topic(settings)
    return log


def drop(folder: Path, log: SimulatedLog, **more: float) -> FileDrop:
    return FileDrop(folder, log, TOPICS, SystemClock(), **{"settle": 0.0, **more})


def records(log: SimulatedLog) -> list[Record]:
    found: list[Record] = []
    for number in range(4):
        found += log.scan(TOPICS.at("trade", "intake", number), 0)
    return found


def outgoing(log: SimulatedLog) -> list[Outgoing]:
    react = intake_reaction("albion", OURS)
    return [command for record in records(log) for command in react(record)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def archived(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "archive").rglob("*") if p.is_file())


def test_a_file_of_several_messages_becomes_one_record_each_and_then_moves(tmp_path, log):
    gateway = drop(tmp_path, log)
    message = sample("799")[0]
    (tmp_path / "in" / "b.fin").write_bytes(message + sample("754")[0])
    (tmp_path / "in" / "a.json").write_bytes(b'{"type": "SetFacility"}')
    assert gateway.step() == 3
    assert [r.key for r in records(log)] == [b"a.json#1", b"b.fin#1", b"b.fin#2"]
    assert b"".join(r.value or b"" for r in records(log)[1:]) == message + sample("754")[0]
    assert archived(tmp_path) == ["a.json", "b.fin"]
    assert names(tmp_path / "in") == []
    assert gateway.step() == 0


def test_a_crash_between_record_and_archive_repeats_commands_under_the_same_ids(tmp_path, log):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.fin").write_bytes(sample("700")[0] + b"\r\nrubbish")
    log.armed = True
    with pytest.raises(KeyboardInterrupt):
        drop(tmp_path, log).step()
    assert names(tmp_path / "in") == ["x.fin"]
    assert drop(tmp_path, log).step() == 2
    first, unreadable, again, still_unreadable = outgoing(log)
    assert (first.id, first.command, first.key) == (again.id, again.command, again.key)
    assert unreadable.id == still_unreadable.id != first.id
    assert unreadable.command == still_unreadable.command
    assert archived(tmp_path) == ["x.fin"]


def test_an_unavailable_log_leaves_the_file_where_it_is(tmp_path, log, monkeypatch):
    gateway = drop(tmp_path, log)
    (tmp_path / "in" / "x.fin").write_bytes(sample("700")[0])

    def refuse(outputs: list[Output]) -> list[int]:
        raise Unavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", refuse)
        with pytest.raises(Unavailable):
            gateway.step()
    assert archived(tmp_path) == []
    assert gateway.step() == 1


def test_unfinished_files_wait(tmp_path, log):
    gateway = drop(tmp_path, log)
    for name in (".hidden", "x.fin.tmp", "x.part"):
        (tmp_path / "in" / name).write_bytes(sample("700")[0])
    assert gateway.step() == 0
    assert gateway.pending() == 0
    assert records(log) == []


def test_a_growing_file_is_taken_only_once_it_stands_still(tmp_path, log):
    gateway = drop(tmp_path, log, settle=0.05)
    whole = sample("700")[0]
    path = tmp_path / "in" / "x.fin"
    path.write_bytes(whole[:40])
    assert gateway.step() == 0
    path.write_bytes(whole)
    gateway.clock.sleep(0.06)
    assert gateway.step() == 0  # it changed since it was last seen
    assert gateway.pending() == 1
    gateway.clock.sleep(0.06)
    assert gateway.step() == 1
    assert records(log)[0].value == whole


def test_what_cannot_be_taken_is_named_and_other_files_flow(tmp_path, log):
    gateway = drop(tmp_path, log)
    inbox = tmp_path / "in"
    (inbox / "folder.fin").mkdir()
    (inbox / "link.fin").symlink_to("/etc/hostname")
    with (inbox / "huge.fin").open("wb") as stream:
        stream.truncate(FILE_LIMIT + 1)
    with (inbox / "long.json").open("wb") as stream:
        stream.write(b"{" + b" " * 3_500_000)
    os.mkfifo(inbox / "pipe.fin")
    (inbox / "z.fin").write_bytes(sample("799")[0])
    assert gateway.step() == 1
    for name in ("folder.fin", "link.fin", "huge.fin", "long.json", "pipe.fin"):
        assert f"in/{name} " in gateway.trouble
    assert archived(tmp_path) == ["z.fin"]
    assert gateway.pending() == 0
    (inbox / "folder.fin").rmdir()
    gateway.step()
    assert "folder.fin" not in gateway.trouble


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path, log):
    gateway = drop(tmp_path, log)
    (tmp_path / "in" / "x.fin").write_bytes(b"x")
    (tmp_path / "in" / "x.fin").chmod(0)
    assert gateway.step() == 0
    assert "let this account read it" in gateway.trouble


def test_a_file_of_the_same_name_never_replaces_one_in_the_archive(tmp_path, log):
    gateway = drop(tmp_path, log)
    for text in (b"one", b"two"):
        (tmp_path / "in" / "x.fin").write_bytes(text)
        gateway.step()
    assert archived(tmp_path) == ["x.fin", "x.fin.2"]
    assert {p.read_bytes() for p in tmp_path.rglob("x.fin*")} == {b"one", b"two"}


def test_names_that_are_no_text_are_taken_too(tmp_path, log):
    gateway = drop(tmp_path, log)
    name = os.fsdecode(b"caf\xe9\xff.fin")
    (tmp_path / "in" / name).write_bytes(b"rubbish")
    assert gateway.step() == 1
    (found,) = outgoing(log)
    assert isinstance(found.command, UnreadableInput)
    assert found.command.received == b"rubbish"


def test_an_empty_file_is_archived_and_records_nothing(tmp_path, log):
    gateway = drop(tmp_path, log)
    (tmp_path / "in" / "x.fin").write_bytes(b" \n")
    assert gateway.step() == 1
    assert records(log) == []
    assert archived(tmp_path) == ["x.fin"]


def test_an_unreadable_input_keeps_its_bytes_and_its_reason_holds_none_of_them(tmp_path, log):
    gateway = drop(tmp_path, log)
    broken = sample("700")[0].replace(b":32B:USD100000,", b":32B:SECRET").replace(b":20:", b":2X:")
    (tmp_path / "in" / "x.fin").write_bytes(broken)
    gateway.step()
    (found,) = outgoing(log)
    assert found.command.received == broken
    assert found.key.startswith("albion/unreadable/")
    assert len(found.key.split("/")) == 3
    assert "SECRET" not in found.command.reason
    assert "20" in found.command.reason
    assert found.command.source == "x.fin#1"


# --- outgoing -------------------------------------------------------------------------------


def queued(text: str, mur: str = "U700ABC") -> Record:
    known = catalogue.default()
    encoder = Encoder(log_id="log", catalogue=known, registry=registered(known))
    event = MessageQueued(
        message=mur, mt="700", receiver=OURS, credit="C1",
        text=FinText(subject="C1", text=text), sha256="",
    )  # fmt: skip
    key = f"albion/message/{mur}"
    _, value, headers = encoder.command(
        event, key=key, command_id="e-1", tenant="albion", actor=Actor("p", "l", "maker"), at=1
    )
    return Record("usance.trade.events", 0, 0, key.encode(), value, headers, 0)


@pytest.fixture
def decoder() -> Decoder:
    known = catalogue.default()
    return Decoder(catalogue=known, registry=registered(known), clear_blocks=True)


def test_a_message_is_written_once_even_after_the_interface_took_it(tmp_path, decoder):
    record = queued("{1:text}")
    (first,) = FinOut(tmp_path, decoder).react(record)
    path = tmp_path / "out" / "U700ABC-1.fin"
    assert path.read_bytes() == b"{1:text}"
    assert isinstance(first.command, RecordSent)
    assert first.key == "albion/message/U700ABC"
    path.unlink()
    (again,) = FinOut(tmp_path, decoder).react(record)
    assert again == first
    assert not path.exists()


def test_a_crash_while_writing_leaves_no_half_file(tmp_path, decoder, monkeypatch):
    worker = FinOut(tmp_path, decoder)

    def die(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            worker.react(queued("{1:text}"))
    assert names(tmp_path / "out") == []
    FinOut(tmp_path, decoder).react(queued("{1:text}"))
    assert names(tmp_path / "out") == ["U700ABC-1.fin"]


def test_another_text_under_the_same_name_is_never_sent(tmp_path, decoder):
    worker = FinOut(tmp_path, decoder)
    worker.react(queued("{1:text}"))
    assert worker.react(queued("{1:other}")) == []
    assert "U700ABC-1.fin" in worker.trouble
    assert (tmp_path / "out" / "U700ABC-1.fin").read_bytes() == b"{1:text}"


def test_a_reference_cannot_leave_the_folder(tmp_path, decoder):
    FinOut(tmp_path / "drop", decoder).react(queued("{1:text}", "../../evil"))
    assert [p.parent.name for p in tmp_path.rglob("*evil*") if p.suffix == ".fin"] == [
        "out",
        "sent",
    ]


def test_a_full_disk_makes_the_worker_wait(tmp_path, decoder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        FinOut(tmp_path, decoder).react(queued("{1:text}"))


def test_the_loopback_acknowledges_what_is_valid_and_turns_away_what_is_not(tmp_path, decoder):
    worker, network = FinOut(tmp_path, decoder), Loopback(tmp_path, CLOCK, delay=0.0)
    worker.react(queued(sample("700")[0].decode(), "GOOD"))
    worker.react(queued(fin("700", TEXTS["700"].replace("USD100000,", "USDX")).decode(), "BAD"))
    assert network.pending() == 2
    assert network.step() == 2
    found = {
        path.name: decode_input(path.read_bytes(), tenant="albion", our_bic=OURS)
        for path in (tmp_path / "in").iterdir()
    }
    good, bad = found["loopback-GOOD-1.fin"], found["loopback-BAD-1.fin"]
    assert isinstance(good.command, RecordAck)
    assert good.key == "albion/message/MUR700"
    assert isinstance(bad.command, RecordNak)
    assert bad.command.code == "T43"
    assert network.step() == 0
