"""A small played book, and the command line over it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_book import start_program, write_book

from usance.bootstrap.book import before, play, read_book
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.cli.main import usance
from usance.config import load


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "inputs")


@pytest.fixture(scope="session")
def played_once(tmp_path_factory: pytest.TempPathFactory, small_book: Path) -> Path:
    root = tmp_path_factory.mktemp("played") / "data"
    inputs = read_book(small_book)
    settings = load(root, {"data": str(root)}, {}).settings
    runtime = Runtime(Folder(root), settings, before(inputs))
    play(runtime, inputs)
    runtime.screener.screener()  # so that every copy finds the lists compiled
    runtime.close()
    return root


@pytest.fixture
def data(played_once: Path, tmp_path: Path) -> Path:
    """Return a fresh copy of the played book."""
    return Path(shutil.copytree(played_once, tmp_path / "data"))


Run = Callable[..., Result]


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the command line over the played book, in this process."""
    _clean(monkeypatch.delenv)
    monkeypatch.chdir(data.parent)

    def call(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(
            usance, ["--data", str(data), *arguments], catch_exceptions=False, **more
        )

    return call


@pytest.fixture
def read(run: Run) -> Callable[..., Any]:
    """Return the command line's JSON answer of a command that must succeed."""

    def call(*arguments: str, **more: Any) -> Any:
        result = run(*arguments, "--output", "json", **more)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


def _clean(forget: Callable[..., Any]) -> None:
    for name in [n for n in os.environ if n.startswith("USANCE_")]:
        forget(name)


@pytest.fixture
def started(data: Path) -> Iterator[dict[str, Any]]:
    """Start the program over the played book; gives its url, pid and data folder."""
    found = start_program("--data", str(data), cwd=data.parent)
    try:
        yield found
    finally:
        found["child"].kill()
        found["child"].communicate()


@pytest.fixture(scope="module")
def running(
    played_once: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Start the program once for tests that leave it running."""
    root = Path(shutil.copytree(played_once, tmp_path_factory.mktemp("running") / "data"))
    found = start_program("--data", str(root), cwd=root.parent)
    try:
        yield found
    finally:
        found["child"].kill()
        found["child"].communicate()
