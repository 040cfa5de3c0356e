"""What peers take to seal, measured in the same run.

`eventsourcing`'s AESCipher runs in this process. Confluent's client-side field encryption needs packages that
are not installed with our tools: it runs as a program of its own where `make bench-peers` was done.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from usance.kernel.clock import SystemClock
from usance.kernel.ids import system_entropy

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
CSFLE = ROOT / "tools" / "csfle_peer.py"
CSFLE_WAIT_S = 120
CONFLUENT_EARLIER_US = 145.0
"""Five of forty string fields encrypted, over none, per event, as measured before: told where it cannot run."""
FIELD_BYTES, REPEATS = 200, 2_000
GOAL_CONFLUENT, GOAL_EVENTSOURCING = 8.0, 15.0


def peers(costs: dict[str, float]) -> dict[str, Any]:
    """Return what peers take in microseconds, and how many times ours that is; None where one is missing.

    Ours is one block of 200 bytes: five fields of forty, as Confluent's are.
    """
    library, fields = eventsourcing_us(), confluent_us()
    seal, opened = costs["seal_us"], costs["open_us"]
    ours = max(seal, opened)
    found: dict[str, Any] = {
        "eventsourcing_us": library,
        "eventsourcing_times": None if library is None else round(library / ours, 1),
        "eventsourcing_goal": GOAL_EVENTSOURCING,
        "confluent_goal": GOAL_CONFLUENT,
    }
    if fields is None:
        return found | {
            "confluent_us": None,
            "confluent_hint": "make bench-peers installs it",
            "confluent_earlier_us": CONFLUENT_EARLIER_US,
            "confluent_earlier_times": round(CONFLUENT_EARLIER_US / ours, 1),
        }
    lower = min(fields["seal_us"] / seal, fields["open_us"] / opened)
    return found | {
        "confluent_us": min(fields["seal_us"], fields["open_us"]),
        "confluent_seal_us": fields["seal_us"],
        "confluent_open_us": fields["open_us"],
        "confluent_times": round(lower, 1),
    }


def confluent_us(python: Path = PEERS) -> dict[str, float] | None:
    """Return what client-side field encryption adds to one event; None where it is not installed."""
    if not python.exists():
        return None
    ran = subprocess.run(  # noqa: S603  our own program
        [str(python), "-I", str(CSFLE)],
        capture_output=True,
        text=True,
        timeout=CSFLE_WAIT_S,
        check=False,
    )
    if ran.returncode:
        return None
    found: dict[str, float] = json.loads(ran.stdout)
    return found


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
