"""The tree itself: options anywhere, lazy imports, exit codes, errors in words."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from small_book import MT700, environment, program

from usance.cli.main import COMMANDS, usance
from usance.cli.options import Root, Verb, session, verb
from usance.kernel.errors import Conflict, NotFound, Refused, Tampered, Unavailable, Unreadable


def shell(*arguments: str, root: click.Group = usance, text: str | None = None) -> Result:
    return CliRunner().invoke(root, list(arguments), input=text)


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        member = group.get_command(context, name)
        if name in ("bench", "chaos") or member is None:
            continue
        found.append((*path, name))
        if isinstance(member, click.Group):
            found += all_commands(member, (*path, name))
    return found


@pytest.mark.parametrize("path", all_commands(usance), ids=" ".join)
def test_every_command_explains_itself_and_takes_the_shared_options(path: tuple[str, ...]) -> None:
    result = shell(*path, "--help")
    assert result.exit_code == 0, result.output
    for option in ("--output", "--data", "--as", "--tenant"):
        assert option in result.output


def test_the_tree_holds_what_the_operations_guide_promises() -> None:
    promised = """credit list|credit show|credit timeline|credit state|credit apply|credit issue
    |credit amend|credit approve|credit advise|presentation list|presentation show
    |presentation examine|presentation refuse|presentation honour|presentation accept
    |presentation negotiate|presentation waive|facility list|facility show|facility set
    |command send|event list|event show|event tail|saga list|saga show|saga retry|saga skip
    |saga done-outside|saga compensate|saga approve|incident list|incident show|approval list
    |approval show|approval approve|approval reject|case list|case show|case propose|case approve
    |work list|work claim|work release|dead-letter list|dead-letter show|dead-letter redrive|dead-letter discard
    |schema list|schema show|schema check|schema gate|schema export|projection list|projection rebuild|log verify|topic list|topic read
    |topic seek|topic describe|topic replay|park list|park show|park release|config show|swift parse|swift validate|list show|list import"""
    known = {" ".join(path) for path in all_commands(usance)}
    assert {" ".join(p.split()) for p in promised.split("|")} <= known
    assert {"start", "demo", "intake", "status", "backup", "restore", "doctor", "screen"} <= set(
        COMMANDS
    )


def test_an_unknown_option_is_a_mistake_in_usage() -> None:
    result = shell("swift", "parse", "--nope")
    assert result.exit_code == 64
    assert "--nope" in result.stderr and result.stdout == ""


def test_an_unknown_command_is_a_mistake_in_usage() -> None:
    assert shell("letter", "list").exit_code == 64


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("LIMIT", "no", article="UCP600-1", hint="ask"), 1),
        (NotFound("no", hint="ask"), 1),
        (Unreadable("parse", "no", hint="ask"), 2),
        (Conflict("no", hint="ask"), 3),
        (Unavailable("no", hint="ask"), 4),
        (Tampered("no", hint="ask"), 5),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_says_what_to_do(
    error: Exception, code: int
) -> None:
    root = Root("usance")

    @verb(root, "fail")
    def fail() -> None:
        raise error

    result = shell("fail", root=root)
    assert result.exit_code == code
    assert "Ask." in result.stderr and result.stdout == ""


def test_a_refusal_names_rule_and_article() -> None:
    root = Root("usance")

    @verb(root, "fail")
    def fail() -> None:
        raise Refused("OVER_LIMIT", "the limit is used up", article="FAC-1")

    assert "The limit is used up. [OVER_LIMIT FAC-1]" in shell("fail", root=root).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--as", "amara.okafor", "say", "it"),
        ("say", "--as", "amara.okafor", "it"),
        ("say", "it", "--as", "amara.okafor"),
        ("--as", "somebody", "say", "it", "--as", "amara.okafor"),
    ],
)
def test_shared_options_stand_anywhere_and_the_innermost_wins(arguments: tuple[str, ...]) -> None:
    root = Root("usance")

    @click.command(cls=Verb)
    @click.argument("what")
    def say(what: str) -> None:
        click.echo(f"{session().person} {what}")

    root.add_command(say)
    assert shell(*arguments, root=root).stdout == "amara.okafor it\n"


def test_the_person_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USANCE_AS", "grace.mwangi")
    root = Root("usance")
    verb(root, "who")(lambda: click.echo(session().person))
    assert shell("who", root=root).stdout == "grace.mwangi\n"
    assert shell("who", "--as", "x", root=root).stdout == "x\n"


def test_help_imports_nothing_of_the_program(tmp_path: Path) -> None:
    began = time.perf_counter()
    result = program("--help", cwd=tmp_path)
    took = time.perf_counter() - began
    assert result.returncode == 0 and "dead-letter" in result.stdout
    assert took < 1.5  # 0.1 s on an idle machine; the bound only catches a heavy import
    listed = program_modules("--help", cwd=tmp_path)
    assert not [m for m in listed if m.startswith("usance.") and not m.startswith("usance.cli")]
    assert "msgspec" not in listed


def test_validating_a_message_leaves_log_domain_and_web_alone(tmp_path: Path) -> None:
    (tmp_path / "m.fin").write_text(MT700)
    listed = program_modules("swift", "validate", "m.fin", cwd=tmp_path)
    floors = {m.split(".")[1] for m in listed if m.startswith("usance.")}
    assert not floors & {"engine", "log", "adapters", "web", "bootstrap", "domain", "views"}


def program_modules(*arguments: str, cwd: Path) -> set[str]:
    """Return the modules that a run imports."""
    code = (
        "import sys, json\n"
        "from usance.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ran.stderr.splitlines()[-1]))


def test_swift_reads_stdin_and_answers_with_one_object(tmp_path: Path) -> None:
    result = program("swift", "validate", "-", cwd=tmp_path, input=MT700)
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout) | {"errors": []} == {
        "type": "700",
        "release": "SR2026",
        "valid": True,
        "errors": [],
    }
    broken = program("swift", "validate", "-", cwd=tmp_path, input=MT700.replace(":20:", ":20:/"))
    assert broken.returncode == 1 and json.loads(broken.stdout)["errors"]
    assert program("swift", "parse", "-", cwd=tmp_path, input="no").returncode == 2


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    line = "python -m usance --help | head -1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("python", sys.executable)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and ran.stderr == ""
