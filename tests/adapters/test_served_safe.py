"""A real S3 server with Object Lock, from the Go module proxy: what the lock itself does (`testing/worm_server.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from test_safes import DAYS, Bucketed, Locks

from usance.audit.ports import WormStore
from usance.kernel.clock import MS_PER_DAY, SystemClock
from usance.kernel.errors import Unavailable
from usance.testing import worm_server
from usance.testing.safe_conformance import HEAD, SafeConformance

pytestmark = [pytest.mark.go, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    try:
        server = worm_server.WormServer(tmp_path_factory.mktemp("worm"))
    except Unavailable as offline:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{offline.message}: {offline.hint[-300:]}")
    yield server.client()
    server.close()


class TestServedBucket(SafeConformance):
    @pytest.fixture(autouse=True)
    def _place(self, served: Any) -> None:
        self.place = Bucketed(served)

    def open_safe(self) -> WormStore:
        return self.place.safe()


class TestServedLocks(Locks):
    @pytest.fixture(autouse=True)
    def _place(self, served: Any) -> None:
        self.place = Bucketed(served)

    def test_all_five_attacks_are_refused(self) -> None:
        told = self.place.safe().probe()
        assert len(told) == 5
        assert all(one.refused for one in told), told

    def test_a_longer_retention_is_taken(self) -> None:
        safe = self.place.safe()
        safe.put(HEAD, b"head")
        version = self.place.versions()[0]["VersionId"]
        later = (SystemClock().now() + 2 * DAYS * MS_PER_DAY) / 1_000
        self.place.client.put_object_retention(
            **self.place.key(),
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": later},
        )
        [kept] = safe.kept()
        assert kept.until > SystemClock().now() + (2 * DAYS - 1) * MS_PER_DAY
