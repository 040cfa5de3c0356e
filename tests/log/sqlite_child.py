"""Programs for a second process on the same log: `python sqlite_child.py NAME FOLDER`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from usance.adapters.sqlite_log import SqliteLog
from usance.kernel.errors import Uncertain, UsanceError
from usance.log.contract import Output, TopicPartition, Unit
from usance.testing.conformance import C0, E0, E1, O0, Owner, out


def say(*words: object) -> None:
    """Tell the parent at once."""
    print(*words, flush=True)


def units(folder: Path) -> None:
    """Commit unit after unit, each with its number in three partitions; report receipts."""
    log = SqliteLog.open(folder / "log.sqlite")
    owner = Owner(log)
    number = log.position(owner.member.group, C0) or 0
    say("ready")
    while True:
        number += 1
        batch = owner.read(1)
        if not batch.count:
            log.append([out(C0, b"command")] * 100)
            number -= 1
            continue
        filler = b"%d " % number + bytes(1_000)
        rows = [out(at, filler) for at in (E0, E1) for _ in range(number % 7)]
        owner.commit(owner.unit(batch, rows, [out(O0, b"%d" % number)]))
        say(number)


def own(folder: Path) -> None:
    """Try to own the folder."""
    try:
        SqliteLog.open(folder / "log.sqlite")
    except UsanceError as exc:
        say(type(exc).__name__, exc.message)


def watch(folder: Path) -> None:
    """Wait for a record in E0 and report its value and how soon it was seen."""
    log = SqliteLog.open(folder / "log.sqlite", owner=False)
    say("ready")
    woken = log.wait({E0: 0}, 20.0)
    (record,) = log.scan(E0, 0)
    assert woken and record.value is not None
    say(time.time_ns() // 1_000_000 - int(record.value))
    log.close()


def put(folder: Path) -> None:
    """Append a command beside the owner when told to."""
    log = SqliteLog.open(folder / "log.sqlite", owner=False)
    say("ready")
    sys.stdin.readline()
    say(log.append([Output(C0.topic, 0, b"k", b"%d" % (time.time_ns() // 1_000_000))]))
    log.close()


def full(folder: Path) -> None:
    """Fill the disk (here: the largest size of a file) under commits, then go on with room."""
    log = SqliteLog.open(folder / "log.sqlite")
    log.append([out(C0, b"command")] * 50)
    owner = Owner(log)
    committed = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    try:
        while committed < 40:
            batch = owner.read(1)
            unit = owner.unit(batch, [out(E0, bytes(40_000))])
            owner.commit(unit)
            committed += 1
    except Uncertain as exc:
        say(type(exc).__name__, exc.hint)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = log.position(owner.member.group, C0)
    owner.last = log.start(owner.member)
    if found == committed:
        owner.commit(Unit(unit.fence, unit.outputs, unit.positions, unit.starts))
    records = len(list(log.scan(TopicPartition(*E0), 0)))
    say(committed, found, log.position(owner.member.group, C0), records)
    log.close()


if __name__ == "__main__":
    {f.__name__: f for f in (units, own, watch, put, full)}[sys.argv[1]](Path(sys.argv[2]))
