"""`usance bench`: what this machine does, measured so that it cannot flatter.

Real commands through the real owner on the embedded log with `synchronous=FULL`; saturation over a preloaded
backlog; latency from the intended start of open-loop arrivals; peers in the same run, on the same commands,
interleaved, with paired ratios. Everything written is verified afterwards: a mismatch gives no numbers.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from usance.adapters import sqlite_store
from usance.bootstrap.runtime import SWITCH_INTERVAL_S, Runtime
from usance.bootstrap.store import Folder, all_deciders
from usance.config import load
from usance.kernel import native
from usance.kernel.clock import SystemClock
from usance.testing.bench_http import run_http
from usance.testing.bench_peers import PeerRun, article_loop, event_sourcing
from usance.testing.bench_rig import Latency, Rig, Saturation, warmed
from usance.testing.workload import Workload


class Plan(NamedTuple):
    """How long each part takes, in seconds, or how many commands it gets."""

    saturation_s: float
    latency_s: float
    peer_s: float
    paired: int
    memory: int
    http: int
    issued: int


WARM_UP_CREDITS = 10

FULL = Plan(10.0, 10.0, 3.0, 15_000, 50_000, 20_000, 400)
QUICK = Plan(1.0, 1.0, 0.4, 1_500, 2_000, 600, 20)


MEMORY_BEFORE = 5_000
"""Credits that are open before the memory of more is counted."""


def run_bench(*, quick: bool = False, seed: int = 1) -> dict[str, Any]:
    """Measure everything and return the numbers by name; raises Mismatch when a count is wrong."""
    plan = QUICK if quick else FULL
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with tempfile.TemporaryDirectory(prefix="usance-bench-") as made:
            return _measure(plan, Path(made), seed, quick)
    finally:
        sys.setswitchinterval(before)


def _measure(plan: Plan, folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    disk = fdatasync_ms(folder)
    rig, work = warmed(folder / "main", seed)
    probe = _saturate(rig, work, plan.paired)
    long = _saturate(rig, work, int(probe.per_s * plan.saturation_s))
    zipf = _saturate(rig, work, plan.paired, zipf=True)
    half = _latency(rig, work, long.per_s / 2, plan.latency_s, seed)
    slow = _latency(rig, work, 1_000.0, plan.latency_s, seed)
    verdict = rig.verify()
    restored = rig.restore(snapshots=True)
    replayed = rig.restore(snapshots=False)
    projected = rig.project()
    size = sum(f.stat().st_size for f in (folder / "main").glob("log.sqlite*"))
    synchronous = _synchronous(folder / "main" / "log.sqlite")
    rig.close()
    peers, ratios = _peers(plan, folder, seed)
    http = run_http(folder / "http", Workload(seed + 100).take(plan.http))
    return {
        "commands_per_s": round(long.per_s),
        "p50_ms": round(half.p50_ms, 2),
        "p99_ms": round(half.p99_ms, 2),
        "restore_events_per_s": _rate(restored),
        "projection_events_per_s": _rate(projected),
        "http_commands_per_s": round(http.per_s),
        "bytes_per_open_credit": bytes_per_credit(plan.memory, seed),
        "peers": peers,
        "ratios": ratios,
        "applications_issued_per_s": applications_issued(folder / "issued", plan.issued, seed),
        "second_half_commands_per_s": round(long.second_half_per_s),
        "zipf_commands_per_s": round(zipf.per_s),
        "owner_cpu_us_per_command": round(long.owner_cpu_us, 1),
        "replay_events_per_s": _rate(replayed),
        "log_bytes_per_command": round(size / rig.sent),
        "latency_at_half": _told(half),
        "latency_at_1000": _told(slow),
        "http": {k: round(v, 2) for k, v in http._asdict().items()},
        "verified": {
            "commands": len(verdict.decided),
            "events": verdict.records["events"],
            "answers": dict(verdict.answers),
        },
        "machine": {"fdatasync_p50_ms": disk, "synchronous": synchronous, **_machine()},
        "quick": quick,
        "seed": seed,
    }


def _saturate(rig: Rig, work: Workload, count: int, *, zipf: bool = False) -> Saturation:
    rig.preload(work.take(count, zipf=zipf))
    return rig.work_off()


def _latency(rig: Rig, work: Workload, rate: float, seconds: float, seed: int) -> Latency:
    return rig.open_loop(work.take(max(200, int(rate * seconds))), rate, seed)


def _rate(measured: tuple[int, float]) -> int:
    count, seconds = measured
    return round(count / seconds)


def _told(found: Latency) -> dict[str, float]:
    return {name: round(value, 2) for name, value in found._asdict().items()}


# -- peers


def _peers(plan: Plan, folder: Path, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run ours and each peer in the order A B B A; ratios are those of neighbours."""
    runs: dict[str, Callable[[Path, Any, Any, float], PeerRun | None]] = {
        "article_loop": article_loop,
        "event_sourcing": event_sourcing,
    }
    peers: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    deciders = dict(all_deciders())
    for name, run in runs.items():
        pairs: list[tuple[float, PeerRun]] = []
        for round_number in range(2):
            commands = Workload(seed + round_number).take(plan.paired)
            place = folder / f"{name}-{round_number}"

            def ours(place: Path = place, number: int = round_number) -> float:
                return _ours(place, plan.paired, seed + number)

            first = ours() if round_number == 0 else 0.0
            found = run(place / "peer", commands, deciders, plan.peer_s)
            if found is None:
                break
            pairs.append((first or ours(), found))
        if pairs:
            peers[name] = {
                "commands_per_s": [round(p.per_s) for _, p in pairs],
                "ours_per_s": [round(o) for o, _ in pairs],
                "commands": [p.commands for _, p in pairs],
                "durability": pairs[0][1].durability,
            }
            ratios[name] = round(median(o / p.per_s for o, p in pairs), 1)
        else:
            peers[name] = "not installed: it is in the dependency group bench"
    return peers, ratios


def _ours(folder: Path, count: int, seed: int) -> float:
    rig, work = warmed(folder, seed)
    try:
        found = _saturate(rig, work, count)
        rig.verify()
        return found.per_s
    finally:
        rig.close()


# -- memory, the whole program


def bytes_per_credit(count: int, seed: int) -> int:
    """Return what one open credit takes of the owner's memory, states and ids of answers included."""
    with tempfile.TemporaryDirectory(prefix="usance-bench-") as made:
        rig = Rig(Path(made))
        try:
            work = Workload(seed)
            tracemalloc.start()
            rig.preload([c for c in work.take(2 * MEMORY_BEFORE) if "/credit/" in c.key])
            rig.work_off()  # fills what has a bound of its own, such as the records just read
            rig.answered.clear()
            rig.preload([c for c in work.take(2 * count) if "/credit/" in c.key])
            before = tracemalloc.get_traced_memory()[0]
            rig.work_off()
            rig.answered.clear()
            used = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            rig.sent = 0
            return round(used / count)
        finally:
            rig.close()


def applications_issued(folder: Path, count: int, seed: int) -> float:
    """Return applications per second through sagas, screening, approval, FIN out and projections.

    The lists are compiled and a few credits issued before the clock runs.
    """
    from usance.testing.chaos_book import Book
    from usance.testing.issuing import Issuer

    folder.mkdir(parents=True, exist_ok=True)
    settings = load(None, {"data": str(folder), "gateway.loopback": "true"}, {}).settings
    runtime = Runtime(Folder(folder), settings)
    clock = SystemClock()
    try:
        assert runtime.screener is not None
        runtime.screener.screener()
        runtime.start(views_apart=(os.cpu_count() or 1) > 1)
        issuer = Issuer(runtime, Book(seed))
        issuer.issue(WARM_UP_CREDITS)
        start = clock.monotonic()
        issuer.issue(count)
        seconds = clock.monotonic() - start
    finally:
        runtime.close()
    return round(count / seconds, 1)


# -- the machine


def fdatasync_ms(folder: Path, times: int = 200) -> float:
    """Return the median time of a small durable write: below 0.05 ms a disk is lying."""
    clock = SystemClock()
    taken = []
    descriptor = os.open(folder / "fsync", os.O_RDWR | os.O_CREAT)
    try:
        for _ in range(times):
            os.write(descriptor, bytes(533))
            start = clock.monotonic()
            os.fdatasync(descriptor)
            taken.append((clock.monotonic() - start) * 1e3)
    finally:
        os.close(descriptor)
    return round(median(taken), 3)


def _synchronous(path: Path) -> str:
    connection = sqlite_store.connect(path)
    try:
        level = connection.execute("PRAGMA synchronous").fetchone()[0]
    finally:
        connection.close()
    return {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[level]


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "usance": _version("usance"),
        "msgspec": _version("msgspec"),
        "codec": native.RUNNING,
        "commit": _commit(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of a checkout, empty elsewhere."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607  whichever git there is
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except OSError:
        return ""
    return found.stdout.strip()
