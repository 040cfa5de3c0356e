"""Card numbers that come by file: nothing of them reaches the log or stays in the folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from usance.adapters.intake import intake_reaction
from usance.adapters.swift_files import FileDrop
from usance.crypto.card_policy import CardPolicy
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock, SystemClock
from usance.log.contract import Output, Record
from usance.messages.outcome import UnreadableInput
from usance.testing.sim_log import SimulatedLog

sys.path.insert(0, str(Path(__file__).parents[1] / "messages" / "swift"))
from swift_samples import sample

VISA = "4012888888881881"
MASKED = b"401288******1881"
TOPICS = Topics("usance", 4)


@pytest.fixture
def log() -> SimulatedLog:
    log = SimulatedLog(BookClock(1_796_000_000_000))
    for settings in TOPICS.settings():
        log.create_topic(settings)
    return log


def drop(folder: Path, log: SimulatedLog, cards: CardPolicy | None = None) -> FileDrop:
    return FileDrop(folder, log, TOPICS, SystemClock(), settle=0.0, cards=cards)


def with_card(number: str = VISA) -> bytes:
    found = sample("799")[0]
    place = found.index(b"\r\n-}")
    return found[:place] + f"\r\nCHARGE VISA CARD {number}".encode() + found[place:]


def records(log: SimulatedLog) -> list[Record]:
    return [r for n in range(4) for r in log.scan(TOPICS.at("trade", "intake", n), 0)]


def reacted(log: SimulatedLog, cards: CardPolicy | None = None) -> list[object]:
    react = intake_reaction("albion", "BBBBSGSG", cards=cards)
    return [out.command for record in records(log) for out in react(record)]


def everything(folder: Path, log: SimulatedLog) -> bytes:
    files = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    told = [
        b"".join([r.key or b"", r.value or b"", *(v for _, v in r.headers)]) for r in records(log)
    ]
    return b"".join([*files, *told])


def test_a_message_with_a_card_is_kept_masked_and_acted_upon_by_nobody(
    tmp_path: Path, log: SimulatedLog
) -> None:
    gateway = drop(tmp_path, log)
    (tmp_path / "in" / "x.fin").write_bytes(with_card() + sample("754")[0])
    assert gateway.step() == 2
    assert VISA.encode() not in everything(tmp_path, log)
    assert MASKED in everything(tmp_path, log)
    assert [p.name for p in (tmp_path / "in").iterdir()] == []
    unreadable, other = reacted(log)
    assert isinstance(unreadable, UnreadableInput)
    assert not isinstance(other, UnreadableInput)
    assert unreadable.stage == "cards"
    assert "a card number in field 79" in unreadable.reason
    assert MASKED in unreadable.received
    [archived] = [p for p in (tmp_path / "archive").rglob("*") if p.is_file()]
    assert sample("754")[0] in archived.read_bytes()


def test_tokens_go_on_as_a_command(tmp_path: Path, log: SimulatedLog) -> None:
    gateway = drop(tmp_path, log, CardPolicy("tokenise", lambda _: "9900000000001882"))
    (tmp_path / "in" / "x.fin").write_bytes(with_card())
    gateway.step()
    [command] = reacted(log)
    assert not isinstance(command, UnreadableInput)
    assert VISA.encode() not in everything(tmp_path, log)
    assert b"9900000000001882" in everything(tmp_path, log)


def test_a_file_without_cards_is_archived_as_it_came(tmp_path: Path, log: SimulatedLog) -> None:
    gateway = drop(tmp_path, log)
    data = b"\r\n" + sample("799")[0] + b"\r\n\r\n" + sample("754")[0]
    (tmp_path / "in" / "x.fin").write_bytes(data)
    gateway.step()
    [archived] = [p for p in (tmp_path / "archive").rglob("*") if p.is_file()]
    assert archived.read_bytes() == data


def test_a_crash_before_the_archive_leaves_the_same_command(
    tmp_path: Path, log: SimulatedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = drop(tmp_path, log)
    (tmp_path / "in" / "x.fin").write_bytes(with_card())
    with monkeypatch.context() as patch:
        patch.setattr(gateway, "_put_away", lambda *_: None)
        gateway.step()
    drop(tmp_path, log).step()
    react = intake_reaction("albion", "BBBBSGSG")
    first, again = (react(record)[0] for record in records(log))
    assert first.id == again.id
    assert first.command.received == again.command.received
    assert VISA.encode() not in everything(tmp_path, log)


def test_what_another_program_wrote_into_intake_is_looked_at_as_well(log: SimulatedLog) -> None:
    log.append([Output(TOPICS.name("trade", "intake"), 0, b"theirs", with_card(), ())])
    [command] = reacted(log, CardPolicy())
    assert isinstance(command, UnreadableInput)
    assert VISA.encode() not in command.received


def test_a_document_with_a_card_in_its_words_is_refused(tmp_path: Path, log: SimulatedLog) -> None:
    gateway = drop(tmp_path, log)
    document = f'{{"type":"CloseCredit","credit":"TF1","reason":"paid by {VISA}","id":"1"}}'
    (tmp_path / "in" / "x.json").write_text(document)
    gateway.step()
    [command] = reacted(log)
    assert isinstance(command, UnreadableInput)
    assert "in field reason" in command.reason
