"""What a peer takes to seal one field, measured in the same run, and what another one is known to take.

`eventsourcing`'s AESCipher runs in this process. Confluent's client-side field encryption (its `rules` extra)
is not installed with our tools: its figure is one measured before on a machine like this one, and says so.
"""

from __future__ import annotations

from typing import Any

from usance.kernel.clock import SystemClock
from usance.kernel.ids import system_entropy

CONFLUENT_EARLIER_US = 145.0
"""Five of forty string fields encrypted, over none, per event; data key cached, registry in memory."""
FIELD_BYTES, REPEATS = 200, 2_000
GOAL_CONFLUENT, GOAL_EVENTSOURCING = 8.0, 15.0


def peers(costs: dict[str, float]) -> dict[str, Any]:
    """Return what peers take in microseconds, and how many times ours that is; None where one is missing."""
    library = eventsourcing_us()
    ours = max(costs["seal_us"], costs["open_us"])
    return {
        "eventsourcing_us": library,
        "eventsourcing_times": None if library is None else round(library / ours, 1),
        "eventsourcing_goal": GOAL_EVENTSOURCING,
        "confluent_earlier_us": CONFLUENT_EARLIER_US,
        "confluent_earlier_times": round(CONFLUENT_EARLIER_US / ours, 1),
        "confluent_goal": GOAL_CONFLUENT,
    }


def eventsourcing_us() -> float | None:
    """Return the lower of encrypting and decrypting 200 bytes with eventsourcing's cipher."""
    try:
        from eventsourcing.cipher import AESCipher
        from eventsourcing.utils import Environment
    except ImportError:
        return None
    environment = Environment("peer", {"CIPHER_KEY": AESCipher.create_key(32)})
    cipher = AESCipher(environment)
    plain = system_entropy(FIELD_BYTES)
    sealed = cipher.encrypt(plain)
    return min(_least(lambda: cipher.encrypt(plain)), _least(lambda: cipher.decrypt(sealed)))


def _least(work: Any) -> float:
    clock, spans = SystemClock(), []
    for _ in range(5):
        start = clock.monotonic()
        for _ in range(REPEATS):
            work()
        spans.append((clock.monotonic() - start) / REPEATS)
    return round(min(spans) * 1e6, 2)
