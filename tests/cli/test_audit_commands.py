"""`usance audit` on a small book: heads, proofs, verification and exports, as a person uses them."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from usance.adapters.witnesses import HttpWitness
from usance.audit.exported import demand_whole
from usance.audit.note import parse_checkpoint, parse_note, parse_vkey
from usance.audit.proof import parse_policy, verify_proof
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, found_log
from usance.cli.main import usance
from usance.config import Settings
from usance.kernel.clock import SystemClock
from usance.testing.attack_scene import Victim, altered


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit") / "book"
    folder.mkdir()
    found_log(Folder(folder), Settings(), SystemClock())
    Victim(folder, Settings()).grow("Seed", count=20)
    return folder


@pytest.fixture
def book(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "book", ignore=shutil.ignore_patterns("cache")))


def run(book: Path, *words: str) -> Result:
    return CliRunner().invoke(usance, ["audit", *words, "--data", str(book)])


def test_the_head_is_a_cosigned_note_that_verify_extends(book: Path, tmp_path: Path):
    head = run(book, "head")
    assert head.exit_code == 0
    said = parse_checkpoint(parse_note((head.stdout).encode()).text)
    kept = tmp_path / "monday.head"
    kept.write_text(head.stdout)
    Victim(book, Settings()).grow("More")
    done = run(book, "verify", "--since", str(kept), "--full", "--output", "json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["whole"] and report["since"] == said.size and report["leaves"] > 60
    assert report["witnessed_at"] and report["anchors"] >= 1
    assert {t["unsealed"] for t in report["trees"]} == {0}


def test_tampering_is_exit_code_5_with_code_place_and_advice(book: Path):
    victim = Victim(book, Settings())
    with victim.evidence() as found:
        place = found.partition("system.schemas/p000")
    victim.write(place, [altered(victim.rows(place)[3])])
    with victim.evidence() as found:
        place = found.partition("0")
    row = victim.rows(place)[0]
    victim.delete(place, [row.offset])
    done = run(book, "verify")
    assert done.exit_code == 5
    assert "INDEX_GAP at trade.events/p000#0" in done.stderr
    assert "SCHEMA_SWAPPED at system.schemas/p000#3" in done.stderr
    assert "Keep a copy" in done.stderr
    scrub = run(book, "scrub", "--output", "json")
    assert scrub.exit_code == 5
    kept = list((book / "anchors" / "scrub").glob("*.note"))
    assert len(kept) == 1 and b"INDEX_GAP" in kept[0].read_bytes()


def test_whom_to_trust_comes_from_outside_when_it_is_named(book: Path, tmp_path: Path):
    mine = tmp_path / "policy.txt"
    shutil.copy2(book / "heads" / "policy.txt", mine)
    assert run(book, "verify", "--policy", str(mine)).exit_code == 0
    text = mine.read_text().splitlines()
    mine.write_text("\n".join(line for line in text if "/heads+" not in line) + "\n")
    done = run(book, "verify", "--policy", str(mine))
    assert done.exit_code == 5 and "UNKNOWN_KEY" in done.stderr


def test_a_proof_is_written_with_all_that_a_stranger_needs(book: Path, tmp_path: Path):
    out = tmp_path / "proof"
    done = run(book, "prove", "trade.p0#1", "--out", str(out))
    assert done.exit_code == 0, done.output
    for name, entry in (("event", "leaf.bin"), ("head", "head.note")):
        policy = parse_policy((out / f"{name}.policy").read_text())
        (origin,) = policy.logs
        raw = (out / f"{name}.tlog-proof").read_bytes()
        verify_proof(raw, (out / entry).read_bytes(), policy, origin)
    event_id = json.loads(run(book, "prove", "trade.p0#1", "--output", "json").stdout)["id"]
    assert run(book, "prove", event_id).stdout == run(book, "prove", "trade.p0#1").stdout
    assert run(book, "prove", "trade.p0#9999").exit_code == 4
    assert run(book, "prove", "nonsense").exit_code == 1
    assert run(book, "prove", "trade.p0#1", "--out", str(out)).exit_code == 4, "never overwritten"


@pytest.mark.parametrize("words", [("--partition", "0"), ("--heads",)])
def test_an_export_is_a_whole_tree_with_its_key(book: Path, tmp_path: Path, words: tuple[str, ...]):
    out = tmp_path / "tree"
    assert run(book, "export", *words, "--out", str(out)).exit_code == 0
    names = [p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()]
    key = parse_vkey((out / "log.vkey").read_text())
    assert demand_whole(lambda n: (out / n).read_bytes(), names, key).size > 0
    assert run(book, "export", "--out", str(out)).exit_code == 1


def test_a_witness_of_ours_serves_anybodys_log(book: Path, tmp_path: Path):
    words = ["audit", "witness", "--state", str(tmp_path / "w"), "--port", "0", "--data", str(book)]
    program = subprocess.Popen(
        [sys.executable, "-m", "usance", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        witness = HttpWitness(parse_vkey(told["vkey"]), told["url"])
        raw = run(book, "head").stdout.encode()
        head = parse_checkpoint(parse_note(raw).text)
        assert witness.add_checkpoint(0, [], raw).signatures
        assert witness.add_checkpoint(0, [], raw).size == head.size
        assert told["logs"] == [head.origin]
    finally:
        program.terminate()
        assert program.wait(10) == 0
        program.stdout.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(told["url"].rsplit(":", 1)[1].strip("/")))) != 0


def test_proving_that_was_never_done_says_how_to_begin(tmp_path: Path):
    folder = tmp_path / "bare"
    folder.mkdir()
    found_log(Folder(folder), Settings(), SystemClock())
    done = run(folder, "verify")
    assert done.exit_code == 4 and "--policy" in done.stderr


def forget(book: Path, like: str) -> None:
    """Remove last heads, as somebody who may write the files does."""
    with closing(sqlite3.connect(book / "heads" / "last.sqlite")) as heads, heads:
        assert heads.execute("DELETE FROM head WHERE origin LIKE ?", (like,)).rowcount


def test_a_partition_that_was_dropped_with_its_proof_is_missed_in_the_log_of_heads(book: Path):
    with closing(sqlite3.connect(book / "log.sqlite")) as log, log:
        for kind in ("events", "outcomes", "dead-letters", "commands", "snapshots", "parked"):
            topic = f"usance.trade.{kind}"
            log.execute(f'DELETE FROM "log_{topic}_3"')
            sql = "UPDATE place SET next=0, start=0, last=0 WHERE topic=? AND partition=3"
            log.execute(sql, (topic,))
            shutil.rmtree(book / "proof" / f"trade.{kind}" / "p003", ignore_errors=True)
    forget(book, "%/trade.%/p003")
    done = run(book, "verify")
    assert done.exit_code == 5, done.output
    assert "ROLLBACK" in done.stderr and "/trade.events/p003: a head of" in done.stderr
    assert "/trade.outcomes/p003: a head of" in done.stderr


def test_a_full_verification_ends_where_views_stand_beyond_the_log(book: Path):
    """They read a partition that somebody dropped: new tables would never come up to them."""
    program = Runtime(Folder(book), Settings())
    program.drive()
    program.close()
    assert run(book, "verify", "--full").exit_code == 0
    with closing(sqlite3.connect(book / "log.sqlite")) as log, log:
        for topic in ("usance.system.events", "usance.system.outcomes", "usance.trade.events"):
            for partition in range(4):
                log.execute(f'DELETE FROM "log_{topic}_{partition}"')
                sql = "UPDATE place SET next=0, start=0, last=0 WHERE topic=? AND partition=?"
                log.execute(sql, (topic, partition))
    done = run(book, "verify", "--full")
    assert done.exit_code == 5
    assert "VIEW_DRIFT" in done.stderr and "stands at" in done.stderr
    rebuilt = CliRunner().invoke(usance, ["--data", str(book), "projection", "rebuild", "history"])
    assert rebuilt.exit_code == 5 and "delete the views" in rebuilt.output


def unsealed(book: Path) -> None:
    """Remove tiles and last heads: what says that there were heads is kept elsewhere."""
    shutil.rmtree(book / "proof")
    forget(book, "%")


def test_heads_that_were_removed_are_known_to_witness_safe_and_pinned_keys(
    book: Path, tmp_path: Path
):
    unsealed(book)
    mine = tmp_path / "policy.txt"
    shutil.copy2(book / "heads" / "policy.txt", mine)
    for who, remove in (
        ("a witness has seen one", book / "witness"),
        ("kept in the safe", book / "anchors"),
        ("keys were pinned", book / "heads"),
    ):
        done = run(book, "verify", "--policy", str(mine))
        assert done.exit_code == 5 and "ROLLBACK" in done.stderr and who in done.stderr
        shutil.rmtree(remove)
    done = run(book, "verify", "--policy", str(mine))
    assert done.exit_code == 5 and "HEAD_AGE" in done.stderr, "nobody knows, and nothing is sealed"
    assert "no head was ever signed" in done.stderr and "Whole" not in done.stderr


def test_without_proving_nothing_is_called_whole(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    unsealed(book)
    mine = tmp_path / "policy.txt"
    shutil.move(book / "heads" / "policy.txt", mine)
    for gone in ("witness", "anchors"):
        shutil.rmtree(book / gone)
    monkeypatch.setenv("USANCE_PROOF_ENABLED", "false")
    done = run(book, "verify", "--policy", str(mine))
    assert done.exit_code == 0 and "Nothing is proven" in done.stderr, done.output
    assert "Whole" not in done.stderr


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("witness", "our own witness"),
        ("anchors", "in the safe"),
        ("heads/last.sqlite", "the last heads"),
    ],
)
def test_what_a_head_is_held_against_must_not_be_removed(book: Path, gone: str, said: str):
    target = book / gone
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    done = run(book, "verify")
    assert done.exit_code == 5, done.output
    assert "ROLLBACK at" in done.stderr and said in done.stderr


@pytest.mark.parametrize("change", [{"founded_at": 1}, {"clock": "book"}])
def test_the_genesis_record_is_sealed_by_every_start(book: Path, change: dict[str, object]):
    with closing(sqlite3.connect(book / "log.sqlite")) as log, log:
        table = '"log_usance.system.meta_0"'
        sql = f"SELECT value FROM {table} WHERE key = ?"
        (old,) = log.execute(sql, (b"genesis",)).fetchone()
        new = json.dumps(json.loads(old) | change, separators=(",", ":")).encode()
        log.execute(f"UPDATE {table} SET value = ? WHERE key = ?", (new, b"genesis"))
    done = run(book, "verify")
    assert done.exit_code == 5 and "CONFIG_UNSEALED at system.meta/p000" in done.stderr
    Victim(book, Settings()).grow("More")
    done = run(book, "verify")
    assert "CONFIG_UNSEALED at system.meta/p000" in done.stderr, "a later start does not heal it"
