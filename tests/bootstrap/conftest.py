"""The sample book, played once on the real runtime; every test looks at the same log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_world import Fact, Played
from pack_world import CREDIT, STREAM, PackWorld

from usance.bootstrap.packs.handing import Pack
from usance.bootstrap.packs.pack_scope import Request
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


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory, screening_cache: Path) -> Iterator[PackWorld]:
    """The first days of the sample book, sealed."""
    found = PackWorld(tmp_path_factory.mktemp("packs"), screening_cache)
    yield found
    found.close()


@pytest.fixture(scope="session")
def credit(packs: PackWorld) -> Pack:
    """A credit with all that belongs to it."""
    return packs.pack(Request("credit", CREDIT, case="FCA 2026/17"))


@pytest.fixture(scope="session")
def small(packs: PackWorld) -> Pack:
    """About fifty records: one stream and the answers to its commands."""
    return packs.pack(Request("query", f"stream={STREAM}"))


@pytest.fixture(scope="session")
def whole(packs: PackWorld) -> Pack:
    """A whole partition."""
    return packs.pack(Request("partition", "0"))
