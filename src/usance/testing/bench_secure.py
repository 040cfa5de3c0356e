"""`usance bench secure`: what sealing costs, both profiles side by side in one process, round by round.

The same commands go through the same owner on two logs, one with private blocks in clear and one with them
sealed; which goes first changes with each round, and medians of rounds are compared. Beside it stand the three
figures of the article that this project starts from, and what two peers take for their encryption. Every log is
verified before a number is given.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from usance.crypto.sealing import NONCE_BYTES, OVERHEAD, SealingKey
from usance.crypto.secret import KEY_BYTES
from usance.kernel.clock import SystemClock
from usance.kernel.ids import RandomIds, system_entropy
from usance.log.contract import Log
from usance.messages.catalogue import default
from usance.messages.sealed import Kinds, Opening, Sealer
from usance.testing.bench_rig import Profile, Rig, at_share, warmed
from usance.testing.bench_secure_peers import peers
from usance.testing.secrecy import memory_vault
from usance.testing.workload import Workload

PROFILES: tuple[Profile, Profile] = ("default", "secure")
RATES = (1_200.0, 5_000.0)
BATCHES = (50, 500)
PARTS = 4
"""Turns that a saturated round is cut into: other work on the machine then meets both profiles alike."""
BLOCK_BYTES = 200
GOALS = {
    "throughput_at_1200": 0.99,
    "throughput_at_5000": 0.99,
    "p50_at_1200": 1.08,
    "saturated_50": 0.92,
    "saturated_500": 0.90,
    "seal_us": 3.0,
    "open_us": 3.0,
    "bytes_per_block": 70,
}
"""Ratios of secure to default: throughput at least, latency at most; then microseconds and bytes at most."""
ARTICLE = {
    "rate_per_s": 1_200,
    "commit_latency_change": 0.302,
    "encryption_latency_ms": 0.8,
    "writes_per_s_change": -0.041,
}
"""What the article tells of its own secure mode, against its own default."""


class Plan(NamedTuple):
    """How much is measured: rounds, seconds of arrivals per rate, commands per saturated round."""

    rounds: int
    seconds: float
    commands: int


FULL, QUICK = Plan(5, 3.0, 6_000), Plan(2, 1.0, 1_500)


class Round(NamedTuple):
    """One measurement of one profile."""

    offered: str
    profile: str
    p50_ms: float
    p99_ms: float
    per_s: float
    cpu_us: float = 0.0
    """Processor time of the owner's thread per command, where it is saturated."""


def run_bench(
    *, quick: bool = False, seed: int = 1, open_log: Callable[[str], Log] | None = None
) -> dict[str, Any]:
    """Return rows, ratios and costs; `open_log` gives an empty log of a cluster, by a prefix of its own."""
    plan = QUICK if quick else FULL
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        found = {"embedded": _rounds(plan, seed, None)}
        if open_log is not None:
            found["kafka"] = _rounds(plan, seed, open_log)
    finally:
        sys.setswitchinterval(before)
    rows = [row for backend, rounds in found.items() for row in _rows(backend, rounds)]
    ratios = {backend: _ratios(rounds) for backend, rounds in found.items()}
    costs = cipher_costs()
    flat = {
        f"{b}_{name}" if b != "embedded" else name: v
        for b, r in ratios.items()
        for name, v in r.items()
    }
    return {
        "rows": rows,
        "ratios": flat,
        "seal_us": costs["seal_us"],
        "open_us": costs["open_us"],
        "cipher": costs,
        "article": _article(ratios["embedded"], costs),
        "goals": _goals(ratios["embedded"], costs),
        "peers": peers(costs),
        "rounds": plan.rounds,
        "quick": quick,
        "seed": seed,
    }


# -- rounds


@contextmanager
def _rigs(
    seed: int, open_log: Callable[[str], Log] | None
) -> Iterator[dict[str, tuple[Rig, Workload]]]:
    with tempfile.TemporaryDirectory(prefix="usance-secure-") as made:
        rigs: dict[str, tuple[Rig, Workload]] = {}
        try:
            for profile in PROFILES:
                log = open_log(f"s{RandomIds().fresh()[-10:]}-") if open_log else None
                rigs[profile] = warmed(Path(made) / profile, seed, profile=profile, log=log)
            yield rigs
            for rig, _ in rigs.values():
                rig.verify()
        finally:
            for rig, _ in rigs.values():
                rig.close()


def _rounds(plan: Plan, seed: int, open_log: Callable[[str], Log] | None) -> list[Round]:
    found: list[Round] = []
    with _rigs(seed, open_log) as rigs:
        for number in range(plan.rounds):
            order = PROFILES if number % 2 == 0 else PROFILES[::-1]
            found += [
                _offered(*rigs[profile], profile, rate, plan.seconds, seed + number)
                for rate in RATES
                for profile in order
            ]
            found += [
                _saturated(*rigs[profile], profile, batch, plan.commands // PARTS)
                for batch in BATCHES
                for part in range(PARTS)
                for profile in (order if part % 2 == 0 else order[::-1])
            ]
    return found


def _offered(
    rig: Rig, work: Workload, profile: str, rate: float, seconds: float, seed: int
) -> Round:
    gc.collect()
    rig.owner.batch_max = 500
    rig.answered.clear()
    count = max(200, int(rate * seconds))
    latency = rig.open_loop(work.take(count), rate, seed)
    times = sorted(rig.answered.values())
    return Round(
        f"{rate:.0f}", profile, latency.p50_ms, latency.p99_ms, (count - 1) / (times[-1] - times[0])
    )


def _saturated(rig: Rig, work: Workload, profile: str, batch: int, count: int) -> Round:
    gc.collect()
    rig.owner.batch_max = batch
    rig.preload(work.take(count))
    start = rig.clock.monotonic()
    rig.answered.clear()
    done = rig.work_off(count)
    waits = sorted((t - start) * 1e3 for t in rig.answered.values())
    return Round(
        f"saturated, {batch} a unit",
        profile,
        at_share(waits, 0.5),
        at_share(waits, 0.99),
        done.per_s,
        done.owner_cpu_us,
    )


def _of(rounds: list[Round], offered: str, profile: str) -> list[Round]:
    return [r for r in rounds if (r.offered, r.profile) == (offered, profile)]


def _rows(backend: str, rounds: list[Round]) -> list[dict[str, Any]]:
    """Return the median of rounds per load and profile."""
    rows = []
    for offered in dict.fromkeys(r.offered for r in rounds):
        for profile in PROFILES:
            mine = _of(rounds, offered, profile)
            rows.append(
                {
                    "backend": backend,
                    "offered": offered,
                    "profile": profile,
                    "p50_ms": round(median(r.p50_ms for r in mine), 2),
                    "p99_ms": round(median(r.p99_ms for r in mine), 2),
                    "per_s": round(median(r.per_s for r in mine)),
                    "owner_cpu_us": round(median(r.cpu_us for r in mine), 1),
                }
            )
    return rows


def _ratios(rounds: list[Round]) -> dict[str, float]:
    """Return secure over default, medians of rounds each."""
    found = {}
    for rate in RATES:
        name = f"{rate:.0f}"
        for field, label in (("per_s", "throughput"), ("p50_ms", "p50"), ("p99_ms", "p99")):
            found[f"{label}_at_{name}"] = _ratio(rounds, name, field)
    for batch in BATCHES:
        name = f"saturated, {batch} a unit"
        found[f"saturated_{batch}"] = _ratio(rounds, name, "per_s")
        found[f"saturated_{batch}_by_processor_time"] = round(1 / _ratio(rounds, name, "cpu_us"), 3)
    return found


def _ratio(rounds: list[Round], offered: str, field: str) -> float:
    default, secure = (
        median([getattr(r, field) for r in _of(rounds, offered, profile)]) for profile in PROFILES
    )
    return float(round(secure / default, 3))


# -- one block


def cipher_costs() -> dict[str, float]:
    """Return microseconds to seal and to open one block of 200 bytes, place and key look-up included."""
    entry = default().named("usance.trade.CreditApplied")
    kinds = Kinds(entry)
    vault = memory_vault()
    sealer = Sealer(vault)
    stream, record_id = b"albion/credit/TF26LC000123", b"0b1cbb54-6c3a-5d0b-9ad1-5c7b1f0d2a11"
    plain = system_entropy(BLOCK_BYTES)

    def seal() -> bytes:
        sealer.at("albion", stream, 7, record_id, kinds)
        return sealer.seal(0, "party-1", plain)

    block = seal()

    opening = Opening(vault)

    def opened() -> Any:
        opening.at("albion", stream, 7, record_id, kinds)
        return opening.open(0, "party-1", block)

    assert opened() == plain
    key = SealingKey(system_entropy(16), system_entropy(KEY_BYTES))
    seal_p50, seal_p99 = _timed(seal)
    open_p50, open_p99 = _timed(opened)
    raw_p50, _ = _timed(lambda: key.encrypt(system_entropy(NONCE_BYTES), plain, stream))
    return {
        "seal_us": seal_p50,
        "seal_p99_us": seal_p99,
        "open_us": open_p50,
        "open_p99_us": open_p99,
        "raw_gcm_us": raw_p50,
        "bytes_per_block": OVERHEAD + 2,
    }


def _timed(work: Callable[[], Any], count: int = 20_000) -> tuple[float, float]:
    clock = SystemClock().monotonic
    nothing = median(_span(clock, lambda: None) for _ in range(2_000))
    spans = sorted(_span(clock, work) - nothing for _ in range(count))
    return round(at_share(spans, 0.5) * 1e6, 2), round(at_share(spans, 0.99) * 1e6, 2)


def _span(clock: Callable[[], float], work: Callable[[], Any]) -> float:
    start = clock()
    work()
    return clock() - start


# -- beside the article and the goals


def _article(ratios: dict[str, float], costs: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "figure": "commit latency, secure over default, at 1,200 writes/s",
            "article": f"+{ARTICLE['commit_latency_change']:.1%}",
            "here": f"{ratios['p50_at_1200'] - 1:+.1%}",
        },
        {
            "figure": "encryption or decryption of one event's field",
            "article": f"{ARTICLE['encryption_latency_ms']} ms",
            "here": f"{max(costs['seal_us'], costs['open_us']) / 1e3:.4f} ms",
        },
        {
            "figure": "writes per second, secure over default",
            "article": f"{ARTICLE['writes_per_s_change']:+.1%}",
            "here": f"{ratios['throughput_at_1200'] - 1:+.1%} at 1,200/s,"
            f" {ratios['saturated_500'] - 1:+.1%} saturated",
        },
    ]


def _goals(ratios: dict[str, float], costs: dict[str, float]) -> dict[str, dict[str, Any]]:
    measured = {**ratios, **costs}
    at_most = ("p50_at_1200", "seal_us", "open_us", "bytes_per_block")
    return {
        name: {
            "goal": goal,
            "measured": measured[name],
            "met": measured[name] <= goal if name in at_most else measured[name] >= goal,
        }
        for name, goal in GOALS.items()
    }
