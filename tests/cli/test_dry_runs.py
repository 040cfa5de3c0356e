"""Every command that changes something can be rehearsed; those that change nothing are declared, and do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from usance.adapters.sqlite_log import SqliteLog
from usance.cli.main import usance
from usance.kernel.clock import SystemClock

Run = Callable[..., Result]

LOOKS = {
    "approval list": "", "approval show": "NONE", "audit access list": "", "audit access show": "NONE",
    "audit controls": "", "audit head": "", "audit prove": "trade.p0#0", "audit verify": "",
    "case list": "", "case show": "NONE", "config show": "", "credit list": "",
    "credit show": "NONE", "credit state": "NONE --at 0", "credit timeline": "NONE",
    "dead-letter list": "", "dead-letter show": "NONE", "doctor": "", "event list": "",
    "event show": "NONE", "facility list": "", "facility show": "NONE", "glass list": "",
    "incident list": "", "incident show": "NONE", "kafka doctor": "", "kafka rights": "",
    "key check": "", "key list": "", "key show": "1", "lag": "", "list list": "", "list show": "un",
    "log verify": "", "message list": "", "message show": "NONE", "park list": "",
    "park show": "NONE", "presentation list": "", "presentation show": "NONE",
    "presentation timeline": "NONE", "projection list": "", "retention certificate": "party-1",
    "retention classes": "", "retention letter": "party-1", "retention list": "",
    "retention show": "party-1", "saga list": "", "saga show": "NONE", "schema check": "",
    "schema gate": "", "schema list": "", "schema show": "usance.Meta", "screen": "ALBION",
    "status": "", "subject show": "party-1", "swift parse": "", "swift validate": "",
    "topic describe": "usance.trade.events", "topic list": "",
    "topic read": "usance.trade.events --partition 0", "version": "", "work list": "",
}  # fmt: skip
"""Commands that only look, with arguments to run them with; the record of a look is none of their doing."""

WHOLE = {
    "audit attack": "attacks copies that it makes itself",
    "bench": "measures in a folder of its own",
    "chaos": "plays in a folder of its own",
    "demo": "plays the sample book into a folder of its own, or one that is named for it",
    "event tail": "follows events until it is ended, and only looks",
    "schema export": "writes the files that it is asked for, and nothing else",
    "start": "is the program itself",
}
"""Commands that are run as a whole or not at all, with why there is nothing to rehearse."""


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*path, name))


COMMANDS = dict(leaves(usance))
REHEARSED = {name for name, c in COMMANDS.items() if any("--dry-run" in p.opts for p in c.params)}


def test_every_command_can_be_rehearsed_or_is_declared_to_change_nothing() -> None:
    assert set(COMMANDS) - REHEARSED - set(LOOKS) - set(WHOLE) == set()
    assert (set(LOOKS) | set(WHOLE)) & REHEARSED == set(), "declared, and can be rehearsed"
    assert (set(LOOKS) | set(WHOLE)) - set(COMMANDS) == set(), "declared, and does not exist"
    assert len(REHEARSED) > 60


BOOKKEEPING = ("attempts", "snapshots", "schemas", "outcomes")
"""Kinds in which an owner that takes over for as long as a command lasts notes that it did: attempts, footers."""


def held(data: Path) -> dict[str, Any]:
    """Return what a look must leave as it is: ends of topics but those of accesses, and files that matter."""
    log = SqliteLog.open(data / "log.sqlite", owner=False, clock=SystemClock())
    try:
        found: dict[str, Any] = {
            f"{name}/{n}": log.end(place)
            for name, topic in log.topics().items()
            if ".access." not in name and topic.kind not in BOOKKEEPING
            for n in range(topic.partitions)
            for place in [_place(name, n)]
        }
    finally:
        log.close()
    for folder in ("gateway", "anchors", "lists"):
        for file in sorted((data / folder).rglob("*")):
            if file.is_file() and "heads/" not in str(file):
                found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("people.json", "notary.key"):
        found[name] = (data / name).read_bytes()
    return found


def _place(name: str, number: int) -> Any:
    from usance.log.contract import TopicPartition

    return TopicPartition(name, number)


def test_those_that_only_look_change_nothing(run: Run, data: Path) -> None:
    before = held(data)
    for name, arguments in LOOKS.items():
        result = run(*name.split(), *arguments.split(), "--as", "farid.haddad", input="")
        assert result.exit_code in (0, 1, 2, 4, 64), (name, result.output)
        assert held(data) == before, f"usance {name} changed something"


def test_rehearsals_of_the_audit_commands_change_nothing(
    run: Run, data: Path, tmp_path: Path
) -> None:
    assert run("audit", "scrub").exit_code == 0
    before = held(data)
    out = tmp_path / "out"
    for words in (
        ["audit", "scrub"],
        ["audit", "deposit"],
        ["audit", "safe", "--probe"],
        ["audit", "export", "--heads", "--out", str(out)],
        ["audit", "export", "--partition", "0", "--out", f"{out}.zip", "--as", "grace.mwangi"],
        ["audit", "witness", "--state", str(out)],
        ["topic", "settle"],
    ):
        result = run(*words, "--dry-run")
        assert result.exit_code == 0, (words, result.output)
        assert held(data) == before, words
        assert not out.exists() and not out.with_suffix(".zip").exists()
    refused = run("audit", "export", "--partition", "0", "--out", f"{out}.zip", "--dry-run",
                  "--as", "amara.okafor")  # fmt: skip
    assert refused.exit_code == 1 and "ExportPack" in refused.output


@pytest.mark.parametrize("name", sorted(REHEARSED))
def test_a_rehearsal_says_so_in_its_help(name: str) -> None:
    said = next(p for p in COMMANDS[name].params if "--dry-run" in p.opts)
    assert isinstance(said, click.Option) and said.is_flag and "change nothing" in (said.help or "")
