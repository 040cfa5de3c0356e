"""`usance key`: the ceremony with its custodians, the first key, and the check."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from usance.cli.main import usance
from usance.testing.key_servers import ROOT_TOKEN, BaoServer

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line over an empty data folder."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("USANCE_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, keys: str = "file:", secret: str = "") -> Result:
        monkeypatch.setenv("USANCE_KEYS_SECRET_FILE", secret)
        everywhere = ["--data", str(tmp_path / "data"), "--keys", keys]
        return CliRunner().invoke(usance, [*everywhere, *arguments])

    return run


def custodians(tmp_path: Path, count: int = 5) -> list[str]:
    folders = [tmp_path / f"custodian-{n}" for n in range(1, count + 1)]
    for folder in folders:
        folder.mkdir()
    return [part for folder in folders for part in ("--to", str(folder))]


def refused(result: Result) -> str:
    assert result.exit_code == 1
    return str(result.stderr)


def test_a_ceremony_gives_each_custodian_a_share_and_three_open_the_keyring(
    call: Call, tmp_path: Path
) -> None:
    to = custodians(tmp_path)
    done = call("key", "ceremony", *to)
    assert done.exit_code == 0, done.stderr
    assert "All combinations of 3 shares were tried" in done.stderr
    files = sorted(tmp_path.glob("custodian-*/usance-share-*.txt"))
    assert len(files) == 5
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    assert "usance-share-1." not in done.output  # no share is printed
    three = tmp_path / "three"
    three.write_text("".join(files[n].read_text() for n in (0, 3, 4)))
    three.chmod(0o600)
    made = call("key", "create", "--output", "json", secret=str(three))
    assert json.loads(made.stdout) == {"kek": "albion/1", "state": "active"}
    seen = json.loads(call("key", "check", "--output", "json", secret=str(three)).stdout)
    assert seen["proven"] is True
    assert seen["service"]["technology"] == "file"
    assert [v["state"] for v in seen["versions"]] == ["active"]
    assert "a key was wrapped and opened" in call("key", "check", secret=str(three)).stdout
    two = tmp_path / "two"
    two.write_text("".join(f.read_text() for f in files[:2]))
    two.chmod(0o600)
    assert "SHARES_TOO_FEW" in refused(call("key", "check", secret=str(two)))


def test_a_keyring_and_a_share_are_never_written_over(call: Call, tmp_path: Path) -> None:
    to = custodians(tmp_path)
    assert call("key", "ceremony", *to).exit_code == 0
    keyring = (tmp_path / "data" / "keys.sealed").read_bytes()
    shares = {f: f.read_bytes() for f in tmp_path.glob("custodian-*/*")}
    assert "KEYRING_EXISTS" in refused(call("key", "ceremony", *to))
    assert (tmp_path / "data" / "keys.sealed").read_bytes() == keyring
    assert {f: f.read_bytes() for f in tmp_path.glob("custodian-*/*")} == shares


def test_shares_lie_neither_beside_the_keyring_nor_together(call: Call, tmp_path: Path) -> None:
    to = custodians(tmp_path)
    inside = tmp_path / "data" / "shares"
    inside.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(inside)
    for folder in (tmp_path / "data", inside, link):
        text = refused(call("key", "ceremony", *to[:8], "--to", str(folder)))
        assert "SHARE_BESIDE_KEYRING" in text
    elsewhere = tmp_path / "ring"
    elsewhere.mkdir()
    text = refused(
        call("key", "ceremony", "--to", str(elsewhere), keys=f"file:{elsewhere / 'keys.sealed'}")
    )
    assert "SHARE_BESIDE_KEYRING" in text
    assert "SHARES_TOGETHER" in refused(call("key", "ceremony", *to[:6]))
    assert "SHARES_TOGETHER" in refused(call("key", "ceremony", *(to[:2] * 5)))
    assert not (tmp_path / "data" / "keys.sealed").exists()
    assert list(tmp_path.glob("**/*.txt")) == []


def test_without_terminal_or_folders_nobody_is_given_a_share(call: Call, tmp_path: Path) -> None:
    assert "CUSTODIANS_MISSING" in refused(call("key", "ceremony"))
    assert "KEYS_SECRET_MISSING" in refused(call("key", "ceremony", "--passphrase"))
    assert not (tmp_path / "data" / "keys.sealed").exists()
    said = call("key", "ceremony", "--dry-run")
    assert said.exit_code == 0
    assert "3 of 5 shares" in said.stderr
    assert not (tmp_path / "data").exists()


def test_a_rehearsal_prints_the_shares_as_data(call: Call) -> None:
    done = call(
        "key", "ceremony", "--print", "--output", "json", "--shares", "4", "--threshold", "2"
    )
    told = json.loads(done.stdout)
    assert len(told["shares"]) == 4
    assert all(s.startswith("usance-share-1.") for s in told["shares"])


def test_a_passphrase_of_a_file_opens_what_it_closed(call: Call, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("anchor velvet nine orchard\n")
    words.chmod(0o600)
    assert call("key", "ceremony", "--passphrase", secret=str(words)).exit_code == 0
    assert call("key", "create", secret=str(words)).exit_code == 0
    words.write_text("another velvet nine orchard\n")
    wrong = call("key", "check", secret=str(words))
    assert wrong.exit_code == 4
    assert "The passphrase does not open the keyring" in wrong.stderr
    assert "velvet" not in wrong.output


def test_custodians_take_turns_at_a_terminal_and_type_their_share_back(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "usance", "--data", str(tmp_path / "data"), "key", "ceremony",
         "--shares", "3", "--threshold", "2"],
        stdin=child, stdout=child, stderr=child, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "TERM": "dumb", "USANCE_KEYS_SERVICE": "file:"},
    )  # fmt: skip
    os.close(child)
    seen = ""

    def until(pattern: str, nudge: bytes = b"") -> re.Match[str]:
        """Read up to a pattern; `nudge` is pressed again and again: a terminal drops what comes early."""
        nonlocal seen
        for _ in range(200):
            found = re.search(pattern, seen)
            if found is not None:
                seen = seen[found.end() :]
                return found
            ready, _, _ = select.select([parent], [], [], 0.2)
            if ready:
                seen += os.read(parent, 4096).decode()
            elif nudge:
                os.write(parent, nudge)
        raise AssertionError(f"{pattern} was not seen: {seen}")

    asks = "share . as you wrote it down: "
    for number in (1, 2, 3):
        until(rf"Custodian {number} of 3, alone at the screen: press a key\.")
        share = until(r"(usance-share-1\.[0-9a-f.]+)\r\n", b"\n")[1]
        until(asks)
        if number == 2:
            os.write(parent, (share[:-1] + ("0" if share[-1] != "0" else "1") + "\n").encode())
            until("its check does not fit")
            until(asks)
        os.write(parent, (share + "\n").encode())
        until("\n")
        assert share not in seen  # what is typed is not shown
    until("All combinations of 2 shares were tried")
    program.wait(timeout=20)
    os.close(parent)
    assert program.returncode == 0
    assert (tmp_path / "data" / "keys.sealed").exists()


@pytest.mark.vault
def test_a_key_server_is_made_ready_and_checked_from_the_command_line(
    call: Call, tmp_path: Path
) -> None:
    server = BaoServer()
    try:
        where = f"vault:{server.address}/{server.mounted('transit')}"
        token = tmp_path / "token"
        token.write_text(ROOT_TOKEN)
        token.chmod(0o600)
        assert "KEYS_ELSEWHERE" in refused(call("key", "ceremony", keys=where))
        empty = call("key", "check", "--output", "json", keys=where, secret=str(token))
        assert json.loads(empty.stdout)["proven"] is False
        assert "key create" in empty.stderr
        assert call("key", "create", keys=where, secret=str(token)).exit_code == 0
        seen = call("key", "check", "--output", "json", keys=where, secret=str(token))
        assert json.loads(seen.stdout)["proven"] is True
        token.write_text("revoked")
        denied = call("key", "check", keys=where, secret=str(token))
        assert denied.exit_code == 4
        assert "revoked" not in denied.output
    finally:
        server.close()
    down = call("key", "check", keys=where, secret=str(token))
    assert down.exit_code == 4
    assert "does not answer" in down.stderr
