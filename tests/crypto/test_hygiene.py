"""What no review sees at a glance: comparisons that leak by their time, keys in the tree, on command lines, in logs."""

from __future__ import annotations

import ast
import math
import re
import subprocess
from collections import Counter
from pathlib import Path

import click
import pytest

from usance.cli.main import usance

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "usance"
AUTHENTIC = re.compile(r"(?:^|_)(?:tag|mac|hmac|commit|commitment|passphrase|secret|share)(?:$|_)")


def leaky(tree: ast.AST) -> list[int]:
    """Return the lines that compare authenticators by `==` or `!=`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(o, ast.Eq | ast.NotEq) for o in node.ops
        ):
            for side in (node.left, *node.comparators):
                name = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
                if AUTHENTIC.search(name):
                    found.append(node.lineno)
    return found


def test_authenticators_are_compared_in_constant_time() -> None:
    files = [*(SOURCE / "crypto").glob("*.py"), *(SOURCE / "adapters").glob("keys_*.py")]
    assert len(files) > 10
    found = [f"{f.name}:{n}" for f in files for n in leaky(ast.parse(f.read_text()))]
    assert found == []
    assert leaky(
        ast.parse("if tag == other: pass\nif x.commitment != y: pass\nif n == 1: pass")
    ) == [1, 2]


SHAPES = {
    "private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}",
    "share of a root": r"usance-share-1\.[0-9a-f]{32}\.\d+\.\d+\.[0-9a-f]{8}",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "Vault token": r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.",
    "password in an address": r"\b[a-z]+://[^/\s:@'\"{}$<]+:[^/\s@'\"{}$<*]{12,}@",
}
ASSIGNED = re.compile(
    r"(?i)\b(?:password|passwd|secret|token|api_?key|private_?key)\b\s*[:=]\s*[\"']([A-Za-z0-9+/=_-]{24,})[\"']"
)
ENTROPY_MIN = 4.0


def bits(text: str) -> float:
    """Return Shannon's entropy per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def secrets_in(text: str) -> list[str]:
    found = [name for name, shape in SHAPES.items() if re.search(shape, text)]
    drawn = [m[1] for m in ASSIGNED.finditer(text)]
    return found + ["a random value" for value in drawn if bits(value) >= ENTROPY_MIN]


def test_no_key_is_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [
        n
        for n in listed.stdout.decode().split("\0")
        if n and not n.endswith((".gz", ".bin", ".png"))
    ]
    found = []
    for name in names:
        if (ROOT / name).is_file():
            text = (ROOT / name).read_bytes().decode("utf-8", "replace")
            found += [f"{name}: {what}" for what in secrets_in(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "usance-share-1." + "0a" * 16 + ".3.2." + "ff" * 8,
        "AKIA" + "ABCDEFGH12345678",
        'token = "' + "q8Zr1XwN0yTt5LkUe2mJ7cVb" + '"',
        "-----BEGIN " + "PRIVATE KEY-----\n" + "MIIE" * 12,
        "postgresql://me:" + "correct-horse-9" + "@host/db",
    ],
)
def test_the_search_for_keys_finds_each_shape(text: str) -> None:
    assert secrets_in(text)


def options(command: click.Command, path: str = "usance") -> list[str]:
    found = [f"{path} {name}" for p in command.params for name in p.opts if name.startswith("-")]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            if member is not None:
                found += options(member, f"{path} {name}")
    return found


def test_no_option_takes_a_secret() -> None:
    # A command line is read by everybody on the machine (/proc/<pid>/cmdline).
    seen = options(usance)
    assert len(seen) > 500
    worded = re.compile(r"--(?:.*-)?(?:password|passphrase|pin|token|secret|share|private-key)$")
    assert [o for o in seen if worded.search(o)] == ["usance key ceremony --passphrase"]  # a flag
