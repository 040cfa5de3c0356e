"""The sample book, played once on the real runtime; every test looks at the same log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_world import Fact, Played

from usance.testing.verify import Verdict


@pytest.fixture(scope="session")
def screening_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screening") / "cache"


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, screening_cache: Path) -> Iterator[Played]:
    found = Played(tmp_path_factory.mktemp("book"), screening_cache)
    yield found
    found.runtime.close()


@pytest.fixture(scope="session")
def verdict(played: Played) -> Verdict:
    return played.verdict()


@pytest.fixture(scope="session")
def facts(played: Played) -> list[Fact]:
    return played.events()


@pytest.fixture(scope="session")
def kinds(facts: list[Fact]) -> Counter[str]:
    return Counter(type(fact.message).__name__ for fact in facts)
