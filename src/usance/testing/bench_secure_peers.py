"""What peers take to seal five private fields of one event, measured in the same run.

`eventsourcing`'s AESCipher runs in this process. Confluent's client-side field encryption needs packages that
pin others than ours (`make bench-peers`): it runs in the environment of the peers, with its data key cached and a
registry in memory, as its authors show it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from usance.kernel.clock import SystemClock
from usance.kernel.ids import system_entropy

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PROGRAM = ROOT / "tools" / "csfle_peer.py"
FIELD_BYTES, REPEATS = 200, 2_000
GOAL_CONFLUENT, GOAL_EVENTSOURCING = 8.0, 15.0


def peers(costs: dict[str, float]) -> dict[str, Any]:
    """Return what peers take in microseconds, and how many times ours that is; None where one is missing."""
    library, confluent = eventsourcing_us(), confluent_us()
    ours = max(costs["seal_us"], costs["open_us"])
    return {
        "eventsourcing_us": library,
        "eventsourcing_times": None if library is None else round(library / ours, 1),
        "eventsourcing_goal": GOAL_EVENTSOURCING,
        "confluent_us": confluent,
        "confluent_times": None if confluent is None else round(confluent / ours, 1),
        "confluent_goal": GOAL_CONFLUENT,
        "confluent_missing": "" if confluent is not None else "make bench-peers installs it",
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


def confluent_us() -> float | None:
    """Return what five encrypted fields add to one event, in microseconds; None where it is not installed."""
    if not PYTHON.exists():
        return None
    done = subprocess.run(  # noqa: S603  our own program in the peers' environment
        [str(PYTHON), str(PROGRAM)], capture_output=True, check=False, timeout=120
    )
    if done.returncode != 0:
        return None
    found = json.loads(done.stdout)
    return float(found["five_fields_us"])


def _least(work: Any) -> float:
    clock, spans = SystemClock(), []
    for _ in range(5):
        start = clock.monotonic()
        for _ in range(REPEATS):
            work()
        spans.append((clock.monotonic() - start) / REPEATS)
    return round(min(spans) * 1e6, 2)
