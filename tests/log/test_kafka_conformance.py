"""The log contract on a real broker, under both group protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.kernel.clock import BookClock
from usance.kernel.errors import Refused
from usance.kernel.ids import RandomIds
from usance.log.contract import Log
from usance.testing.conformance import E0, S0, LogConformance, out

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class KafkaConformance(LogConformance):
    """What Kafka does otherwise: its own time, and compaction when it likes."""

    protocol = "classic"

    @pytest.fixture(autouse=True)
    def _broker(self, kafka: str) -> None:
        self.kafka = kafka

    def open_log(self, folder: Path, clock: BookClock) -> Log:
        """Return a log under a prefix that nobody has used."""
        prefix = f"{RandomIds().fresh()[-12:]}-"
        settings = KafkaSettings(
            bootstrap=self.kafka, prefix=prefix, replication=1, min_insync=1,
            group_protocol=self.protocol,
        )  # fmt: skip
        return KafkaLog.open(settings, clock=clock)

    def test_timestamps_are_the_clocks_and_never_go_back(self, log: Log, clock: BookClock) -> None:
        """Append time is the broker's, whatever the process believes."""
        log.append([out(E0, b"a"), out(E0, b"b")])
        clock.advance_to(clock.now() + 5)
        log.append([out(E0, b"c")])
        times = [r.timestamp for r in log.scan(E0, 0)]
        assert times == sorted(times) and times[0] > 0

    def test_timestamps_stand_still_while_the_clock_is_back(  # type: ignore[override]
        self, log: Log
    ) -> None:
        """The broker's clock is not ours to set back."""

    def test_compaction_keeps_the_last_value_of_each_key(self, log: Log) -> None:
        """The broker compacts in its own time: asking is allowed where it will, and changes nothing."""
        log.append([out(S0, b"1", b"a"), out(S0, b"2", b"a")])
        assert log.compact(S0) == 0
        with pytest.raises(Refused):
            log.compact(E0)


class TestClassic(KafkaConformance):
    """Cooperative-sticky groups."""


class TestConsumerProtocol(KafkaConformance):
    """KIP-848 groups."""

    protocol = "consumer"


# A test module's names are collected; the base is not a suite of its own.
del KafkaConformance
