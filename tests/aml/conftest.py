"""Fixtures: the shipped lists and one screener over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from usance.aml.list_formats import shipped_lists
from usance.aml.lists import ListSnapshot
from usance.aml.screening import Screener, open_screener


@pytest.fixture(scope="session")
def lists() -> tuple[ListSnapshot, ...]:
    return shipped_lists()


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("index")


@pytest.fixture(scope="session")
def screener(index_folder: Path) -> Screener:
    return open_screener(cache=index_folder)
