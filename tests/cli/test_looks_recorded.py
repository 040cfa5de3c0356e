"""Every command that shows data of compliance has that recorded first, or shows nothing."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from usance import cli
from usance.bootstrap import accessing
from usance.cli.main import usance
from usance.kernel.errors import Unavailable
from usance.views import guarded

Run = Callable[..., Any]
AUDITOR, OFFICER, MAKER = "grace.mwangi", "farid.haddad", "amara.okafor"


def accesses(run: Run, *more: str) -> list[dict[str, Any]]:
    result = run("audit", "access", "list", *more, "--as", AUDITOR, "--output", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


@pytest.fixture
def stream(run: Run) -> str:
    """Return a stream of compliance of the played book."""
    shown = run("topic", "read", "usance.compliance.events", "--partition", "1", "--as", OFFICER)
    for number in range(4):
        part = ("--partition", str(number), "--as", OFFICER)
        shown = run("topic", "read", "usance.compliance.events", *part)
        if shown.stdout:
            return str(json.loads(shown.stdout.splitlines()[0])["key"])
    raise AssertionError("the book has no screening")


WAYS = (
    ("event.list", ("event", "list", "--stream", "{stream}")),
    ("event.show", ("event", "show", "{event}")),
    ("event.tail", ("event", "tail", "--from-start", "--count", "{all}")),
    ("topic.read", ("topic", "read", "usance.compliance.events", "--partition", "{n}")),
    ("topic.read", ("topic", "read", "usance.compliance.outcomes", "--partition", "{n}")),
    ("topic.read", ("topic", "read", "usance.compliance.commands", "--partition", "{n}")),
)


@pytest.fixture
def filled(run: Run, stream: str) -> Callable[[tuple[str, ...]], list[str]]:
    listed = run("event", "list", "--stream", stream, "--as", OFFICER, "--output", "json")
    row = json.loads(listed.stdout)["rows"][0]
    topics = json.loads(run("topic", "list", "--output", "json").stdout)
    read = ("usance.trade.events", "usance.compliance.events")
    there = 0
    for topic in topics:
        if topic["topic"] in read:
            part = ("--partition", str(topic["partition"]), "--limit", "1000")
            shown = run("topic", "read", topic["topic"], *part, "--as", OFFICER)
            there += len(shown.stdout.splitlines())
    known = {"stream": stream, "event": row["event_id"], "n": row["partition"], "all": there}
    return lambda words: [word.format(**known) for word in words]


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(("action", "words"), WAYS, ids=[" ".join(w[:3]) for _, w in WAYS])
def test_what_shows_a_screening_is_recorded(
    run: Run, filled: Any, action: str, words: tuple[str, ...], output: str
) -> None:
    before = len(accesses(run, "--person", OFFICER, "--action", action))
    result = run(*filled(words), "--as", OFFICER, "--output", output)
    assert result.exit_code == 0 and result.stdout, result.output
    assert len(accesses(run, "--person", OFFICER, "--action", action)) == before + 1


@pytest.mark.parametrize(("action", "words"), WAYS, ids=[" ".join(w[:3]) for _, w in WAYS])
def test_what_cannot_be_recorded_is_not_shown(
    run: Run, filled: Any, monkeypatch: pytest.MonkeyPatch, action: str, words: tuple[str, ...]
) -> None:
    del action
    said = filled(words)

    def down(*_: Any) -> None:
        raise Unavailable("the log cannot be written")

    monkeypatch.setattr(accessing, "demand_recorded", down)
    result = run(*said, "--as", OFFICER)
    assert result.exit_code == 4
    assert not guarded.streams_in(result.stdout) and "screening" not in result.stdout


def test_a_tree_of_compliance_goes_out_on_record_alone(run: Run, tmp_path: Path) -> None:
    run("doctor")
    words = ("audit", "export", "--partition", "access.events/p000", "--out", str(tmp_path / "t"))
    assert run(*words).exit_code == 1, "nobody in particular"
    assert run(*words, "--as", MAKER).exit_code == 1
    assert not (tmp_path / "t").exists()


def test_topics_of_accesses_are_the_auditors(run: Run, stream: str) -> None:
    del stream
    words = ("topic", "read", "usance.access.events")
    assert run(*words).exit_code == run(*words, "--as", MAKER).exit_code == 1
    assert run(*words, "--as", "elif.demir").exit_code == 1, "compliance, but no officer"
    shown = run(*words, "--as", AUDITOR)
    assert shown.exit_code == 0 and "AccessRecorded" in shown.stdout
    assert accesses(run, "--person", AUDITOR, "--action", "topic.read")


def test_the_trade_book_is_no_access_of_its_own(run: Run) -> None:
    for words in (("credit", "list"), ("event", "list"), ("status",), ("topic", "list")):
        assert run(*words, "--as", OFFICER).exit_code == 0
    assert accesses(run, "--person", OFFICER) == []


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"key": "albion/case/C-1"}, ["albion/case/C-1"]),
        ({"work": "decide:albion/case/C-1, due"}, ["albion/case/C-1"]),
        ([{"stream": "a.b-c/screening/9f"}, "albion/access/p"], ["a.b-c/screening/9f", "albion/access/p"]),
        ({"key": "albion/credit/LC1", "glass": "albion/glass/p"}, []),
        ({"data": "/srv/access/logs", "topic": "usance.compliance.events"}, []),
        ("https://bank.example/case/1", []),
    ],
)  # fmt: skip
def test_what_is_data_of_compliance(told: Any, found: list[str]) -> None:
    assert guarded.streams_in(told) == found


def test_a_finding_names_no_stream_of_compliance() -> None:
    said = guarded.masked("the snapshot of albion/case/C-1 is another one's")
    assert said == "the snapshot of (a stream of compliance) is another one's"


# -- nothing goes past the one place where looks are found

BESIDE = {
    "show.py": "the one place",
    "options.py": "what is said on stderr, and errors",
    "swift.py": "a file that was given",
    "schemas.py": "schemas",
    "serving.py": "the address of the console",
    "summary.py": "progress",
    "folder.py": "progress, the version",
    "measure.py": "numbers of a bench",
    "keys.py": "a share, to its custodian",
}
"""Modules that write to the terminal beside `show`, and what."""
FILES = {
    "audit.py": "a tree or a proof: `demand_place`; attacks: on a copy",
    "packs.py": "PackExported",
    "folder.py": "a backup: the files themselves, which rights of files keep",
    "keys.py": "shares",
    "schemas.py": "schemas",
    "retention.py": "letters and certificates: `watched`",
    "letters.py": "bytes of dead letters",
}
"""Modules that write files, and how these are recorded."""


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_nothing_is_printed_past_the_one_place() -> None:
    for path in sorted(Path(cli.__path__[0]).glob("*.py")):
        made = set(calls(ast.parse(path.read_text())))
        if made & {"click.echo", "print", "sys.stdout.write", "click.secho"}:
            assert path.name in BESIDE, f"{path.name} prints: use show.emit, or say why not"
        if any(name.endswith((".write_bytes", ".write_text")) for name in made):
            assert path.name in FILES, f"{path.name} writes a file: how is it recorded?"


DECLARED = {
    "no book is opened, or counts and names of its parts alone": """
        backup bench chaos config demo doctor intake kafka lag projection restore schema start status swift
        version log list screen
        """,
    "keys, without subjects": "key",
    "the trade book; what of compliance turns up is found by `show.emit`": """
        approval command credit facility incident message presentation saga work event topic dead-letter park
        """,
    "recorded by name (`watched`), or an act": "case subject retention reveal glass",
    "proofs: `demand_place`, `watched`, PackExported; findings are masked": "audit",
}


def test_every_noun_is_declared() -> None:
    known = {name for words in DECLARED.values() for name in words.split()}
    found = set(usance.list_commands(click.Context(usance)))
    assert found - known == set(), "say how a look at it is recorded"
    assert known - found == set()
