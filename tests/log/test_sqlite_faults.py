"""What the embedded log does when processes die, files are touched and disks fail."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from usance.adapters import sqlite_read
from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_store import file_system_of
from usance.adapters.sqlite_writer import Job
from usance.kernel.errors import Refused, Tampered, Unavailable
from usance.log.contract import TopicSettings
from usance.testing.conformance import (
    C0,
    C1,
    COMMANDS,
    E0,
    E1,
    EVENTS,
    GROUP,
    O0,
    OUTCOMES,
    Owner,
    out,
    values,
)

CHILD = Path(__file__).with_name("sqlite_child.py")


def new_log(folder: Path) -> SqliteLog:
    log = SqliteLog.open(folder / "log.sqlite")
    for name in (COMMANDS, EVENTS, OUTCOMES):
        log.create_topic(TopicSettings(name, name.rsplit(".", 1)[1], 2))
    log.set_positions(GROUP, {C0: 0, C1: 0})
    return log


@contextmanager
def child(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, str(CHILD), program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


# --- death ----------------------------------------------------------------------------------


def kill_while_committing(folder: Path, dice: random.Random) -> int:
    """Run the owner, kill it at a random moment, return the last unit that had its receipt."""
    receipted = 0
    with child("units", folder) as running:
        assert line(running) == "ready"
        timer = threading.Timer(dice.uniform(0.0, 0.12), running.kill)
        timer.start()
        assert running.stdout is not None
        for text in running.stdout:
            if text.endswith("\n"):
                receipted = int(text)
        timer.join()
    return receipted


def check_units_are_whole(folder: Path) -> int:
    """Return the number of units in the log after checking that each is there with all it wrote."""
    log = SqliteLog.open(folder / "log.sqlite")
    units = [int(r.value or b"") for r in log.scan(O0, 0)]
    expected = [n for n in units for _ in range(n % 7)]
    for at in (E0, E1):
        assert [int((r.value or b"").split(b" ")[0]) for r in log.scan(at, 0)] == expected
    assert units == list(range(1, len(units) + 1))
    assert log.position(GROUP, C0) == len(units)
    assert log.integrity() == []
    log.close()
    return len(units)


def kill_loop(folder: Path, kills: int, seed: int) -> None:
    new_log(folder).close()
    dice, done = random.Random(seed), 0
    for _ in range(kills):
        receipted = kill_while_committing(folder, dice)
        after = check_units_are_whole(folder)
        assert after >= max(done, receipted)
        assert after <= max(done, receipted) + 1
        done = after
    assert done > kills


def test_units_are_whole_and_receipted_ones_survive_ten_kills(tmp_path: Path) -> None:
    kill_loop(tmp_path, kills=10, seed=20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_units_are_whole_and_receipted_ones_survive_many_kills(tmp_path: Path, seed: int) -> None:
    kill_loop(tmp_path, kills=40, seed=seed)


# --- other processes ------------------------------------------------------------------------


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    with child("own", tmp_path) as second:
        said = line(second)
    assert said.startswith("Owned") and said.endswith(f"process {os.getpid()}")
    log.close()
    with child("own", tmp_path) as second:
        assert line(second) == ""


def test_without_the_folder_lock_a_group_cannot_be_joined(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    guest = SqliteLog.open(tmp_path / "log.sqlite", owner=False)
    with pytest.raises(Unavailable, match="owns the data folder"):
        guest.join(GROUP, [COMMANDS])
    assert guest.append([out(E0, b"guest")]) == [0]
    assert values(list(log.scan(E0, 0))) == [b"guest"]
    guest.close()
    assert log.append([out(E0, b"host")]) == [1]
    log.close()


def test_a_reader_in_another_process_is_woken_by_a_commit(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    with child("watch", tmp_path) as reader:
        assert line(reader) == "ready"
        time.sleep(0.1)
        log.append([out(E0, b"%d" % (time.time_ns() // 1_000_000))])
        assert int(line(reader)) < 2_000
    log.close()


def test_the_owner_is_woken_by_an_append_of_another_process(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    owner = Owner(log)
    with child("put", tmp_path) as writer:
        assert line(writer) == "ready"
        assert writer.stdin is not None
        writer.stdin.write("now\n")
        writer.stdin.flush()
        batch = log.read(owner.member, 10, 20.0)
        seen = time.time_ns() // 1_000_000
        assert line(writer) == "[0]"
    assert seen - int(batch.records[C0][0].value or b"") < 2_000
    log.close()


def test_topics_made_by_the_owner_later_are_known_to_a_guest(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    guest = SqliteLog.open(tmp_path / "log.sqlite", owner=False)
    log.create_topic(TopicSettings("usance.trade.intake", "intake", 3))
    at = C0._replace(topic="usance.trade.intake", partition=2)
    assert guest.append([out(at, b"v")]) == [0]
    assert values(list(log.scan(at, 0))) == [b"v"]
    guest.close()
    log.close()


# --- the writer -----------------------------------------------------------------------------


def test_jobs_that_wait_together_share_one_commit(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10.0)

    holding = log._writer.submit(Job(hold))
    assert entered.wait(10.0)
    groups = log._writer.groups
    offsets: list[int] = []
    threads = [
        threading.Thread(target=lambda: offsets.extend(log.append([out(E0, b"v")])))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    while log._writer._jobs.qsize() < 20:
        time.sleep(0.001)
    assert log.end(E0) == 0
    leave.set()
    for thread in threads:
        thread.join()
    holding.result()
    assert log._writer.groups - groups == 2
    assert sorted(offsets) == list(range(20))
    log.close()


def test_one_bad_job_does_not_fail_its_group(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.append([out(C0, b"a")])
    owner = Owner(log)
    batch = owner.read()
    entered, leave = threading.Event(), threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10.0)

    log._writer.submit(Job(hold))
    assert entered.wait(10.0)
    good = log.commit(log.stage(owner.unit(batch, [out(E0, b"good")])), owner.last)
    bad = log.commit(log.stage(owner.unit(batch, [out(E0, b"bad"), out(E1, b"bad")])), owner.last)
    assert not good.done()
    leave.set()
    receipt = good.result(10.0)
    with pytest.raises(Exception, match="the unit before"):
        bad.result(10.0)
    owner.last = receipt
    owner.commit(owner.unit(batch, [])._replace(positions={C0: 1}, starts={C0: 1}))
    assert values(list(log.scan(E0, 0))) == [b"good"]
    assert list(log.scan(E1, 0)) == []
    assert log.append([out(E1, b"next")]) == [0]
    log.close()


def test_a_bug_in_a_job_reaches_its_caller_and_the_writer_lives_on(tmp_path: Path) -> None:
    log = new_log(tmp_path)

    def bug(_connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log._do(bug)
    assert log.append([out(E0, b"v")]) == [0]
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.append([out(E0, b"v")])


def test_threads_write_and_read_at_once_without_losing_anything(tmp_path: Path) -> None:
    log = new_log(tmp_path)

    def write(name: int) -> None:
        for i in range(40):
            log.append([out(E0, b"%d %d" % (name, i)), out(E1, b"%d %d" % (name, i))])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    seen: list[bytes] = []
    while len(seen) < 160:
        assert log.wait({E0: len(seen)}, 10.0)
        seen += [r.value or b"" for r in log.scan(E0, len(seen))]
    for thread in threads:
        thread.join()
    for n in range(4):
        mine = [v for v in seen if v.startswith(b"%d " % n)]
        assert mine == [b"%d %d" % (n, i) for i in range(40)]
    assert values(list(log.scan(E1, 0))) == seen
    log.close()


def test_a_commit_of_this_process_wakes_readers_without_a_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_read, "POLL_SECONDS", 30.0)
    log = new_log(tmp_path)
    late = threading.Timer(0.1, lambda: log.append([out(E0, b"v")]))
    late.start()
    began = time.monotonic()
    assert log.wait({E0: 0}, 20.0)
    assert time.monotonic() - began < 10.0
    late.join()
    log.close()


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [True, False])
def test_a_write_ahead_log_that_goes_away_is_fatal_and_loses_nothing(
    tmp_path: Path, replace: bool
) -> None:
    log = new_log(tmp_path)
    log.append([out(E0, b"before")])
    wal = tmp_path / "log.sqlite-wal"
    if replace:
        (tmp_path / "other").write_bytes(b"not yours")
        (tmp_path / "other").rename(wal)
    else:
        wal.unlink()
    for _ in range(2):
        with pytest.raises(Tampered, match="removed or replaced"):
            log.append([out(E0, b"after")])
    log.close()
    again = SqliteLog.open(tmp_path / "log.sqlite")
    assert values(list(again.scan(E0, 0))) == [b"before"]
    again.close()


def test_a_waiting_reader_notices_that_the_database_was_replaced(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    (tmp_path / "log.sqlite").rename(tmp_path / "elsewhere")
    with pytest.raises(Tampered, match="removed or replaced"):
        log.wait({E0: 0}, 10.0)
    with pytest.raises(Tampered):
        log.append([out(E0, b"v")])
    log.close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to ignore permissions."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_named_and_changes_nothing() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        log = new_log(folder)
        log.append([out(E0, b"v")])
        log.close()
        folder.chmod(0o555)
        for name in ("log.sqlite", "owner.lock"):
            (folder / name).chmod(0o444)
        with unprivileged():
            with pytest.raises(Unavailable, match="cannot be written"):
                SqliteLog.open(folder / "log.sqlite")
            with pytest.raises(Unavailable) as caught:
                SqliteLog.open(folder / "log.sqlite", owner=False)
            assert caught.value.hint
        folder.chmod(0o755)
        again = SqliteLog.open(folder / "log.sqlite")
        assert values(list(again.scan(E0, 0))) == [b"v"]
        again.close()
    finally:
        shutil.rmtree(folder)


def test_a_file_that_is_no_database_is_tampered(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"this is no database at all" * 400)
    with pytest.raises(Tampered) as caught:
        SqliteLog.open(tmp_path / "log.sqlite")
    assert "backup" in caught.value.hint


def test_damaged_pages_are_found_when_read(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.append([out(E0, os.urandom(3_000)) for _ in range(200)])
    log.close()
    path = tmp_path / "log.sqlite"
    data = bytearray(path.read_bytes())
    for page in range(30, len(data) // 8_192):
        data[page * 8_192 : page * 8_192 + 64] = bytes(range(64))
    path.write_bytes(data)
    again = SqliteLog.open(path)
    assert again.integrity()
    with pytest.raises(Tampered):
        list(again.scan(E0, 0))
    again.close()


def test_a_newer_or_foreign_database_is_refused(tmp_path: Path) -> None:
    new_log(tmp_path).close()
    other = sqlite3.connect(tmp_path / "log.sqlite")
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(Unavailable, match="format version 99"):
        SqliteLog.open(tmp_path / "log.sqlite")
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE t (a)")
    foreign.close()
    with pytest.raises(Unavailable, match="another program"):
        SqliteLog.open(tmp_path / "foreign.sqlite")


def test_a_log_that_does_not_exist_is_not_created_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        SqliteLog.open(tmp_path / "log.sqlite", owner=False)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_a_commit_makes_it_uncertain_and_the_log_goes_on(
    tmp_path: Path,
) -> None:
    new_log(tmp_path).close()
    with child("full", tmp_path) as running:
        kind, _, hint = line(running).partition(" ")
        committed, found, position, records = (int(word) for word in line(running).split())
    assert kind == "Uncertain" and "take over" in hint
    assert 0 < committed < 40
    assert found in (committed, committed + 1)
    assert position == records == committed + 1
    log = SqliteLog.open(tmp_path / "log.sqlite")
    assert log.integrity() == []
    assert len(list(log.scan(E0, 0))) == records
    log.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_and_what_was_acknowledged_stays(tiny_disk: Path) -> None:
    log = new_log(tiny_disk)
    written = 0
    with pytest.raises(Unavailable) as caught:
        for _ in range(100):
            written += len(log.append([out(E0, bytes(20_000))]))
    assert "disk is full" in caught.value.hint
    assert len(list(log.scan(E0, 0))) == written > 0
    log.close()
    again = SqliteLog.open(tiny_disk / "log.sqlite")
    assert len(list(again.scan(E0, 0))) == written
    again.close()


def test_a_backup_is_a_log_of_one_moment_taken_while_units_go_on(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            log.append([out(E0, b"%d" % number), out(E1, b"%d" % number)])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    assert log.wait({E0: 20}, 10.0)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "log.sqlite"
    log.backup(copy)
    stop.set()
    writer.join()
    with pytest.raises(Refused):
        log.backup(copy)
    restored = SqliteLog.open(copy)
    first, second = (values(list(restored.scan(at, 0))) for at in (E0, E1))
    assert first == second == [b"%d" % i for i in range(len(first))] and len(first) >= 20
    assert restored.topics() == log.topics()
    assert restored.position(GROUP, C0) == 0
    restored.close()
    log.close()


def test_the_file_system_of_a_folder_is_that_of_the_deepest_mount() -> None:
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "40 22 0:50 / /srv/bank rw - nfs4 server:/bank rw\n"
        "41 40 0:51 / /srv/bank/fast\\040disk rw shared:1 - xfs /dev/sdb rw\n"
    )
    assert file_system_of(Path("/srv/bank/data"), mounts) == "nfs4"
    assert file_system_of(Path("/srv/bank/fast disk/data"), mounts) == "xfs"
    assert file_system_of(Path("/srv/banker"), mounts) == "ext4"
