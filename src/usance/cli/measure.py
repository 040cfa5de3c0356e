"""`usance bench` and `usance chaos`: numbers of this machine, and what survives being killed."""

from __future__ import annotations

import sys
from typing import Any

import click

from usance.cli.options import Verb, say, session

SECONDS = 60.0
"""How long faults are done on Kafka unless --seconds says otherwise."""


@click.command(cls=Verb)
@click.argument(
    "what", type=click.Choice(["embedded", "kafka", "secure", "proof"]), default="embedded"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quick", is_flag=True, help="Short parts: for a look, not for numbers to quote.")
@click.option("--ledger", is_flag=True, help="Where the owner's time goes, step by step; no more.")
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of the rounds on Kafka.",
)
@click.option("--seed", type=int, default=1, show_default=True)
def bench(what: str, as_json: bool, quick: bool, ledger: bool, repeats: int, seed: int) -> None:
    """Measure throughput, latency and restore beside peers, on the embedded log or on Kafka; or proving.

    `secure` runs both profiles in turn, on the embedded log and on the broker that --log names, and puts what
    sealing costs beside the article's figures; --ledger --profile secure tells where the owner's time goes.

    Kafka: a broker of its own (Java and Maven, a checkout), or the one that --log names; `make bench-peers`
    installs its peers. Counts are verified afterwards; a mismatch gives no numbers.
    Example: usance bench --json
    """
    if what == "secure":
        _bench_secure(as_json, quick, seed)
        return
    if what == "kafka":
        _bench_kafka(as_json, quick, repeats, seed)
        return
    if what == "proof":
        from usance.testing.bench_proof import run_proof_bench

        _print(run_proof_bench(quick=quick, seed=seed), as_json=as_json)
        return
    if ledger:
        from usance.testing.bench_ledger import ledger as us_by_step

        secure = session().flags.get("profile") == "secure"
        _print(us_by_step(seed, "secure" if secure else "default"), as_json=as_json)
        return
    from usance.testing.bench import run_bench

    _print(run_bench(quick=quick, seed=seed), as_json=as_json)


def _bench_secure(as_json: bool, quick: bool, seed: int) -> None:
    from msgspec.structs import replace

    from usance.bootstrap.backend import open_cluster, passing
    from usance.cli.opening import settings
    from usance.log.contract import Log
    from usance.testing.bench_secure import run_bench

    found = settings()

    def open_log(prefix: str) -> Log:
        own = passing(found)
        return open_cluster(replace(own, kafka=replace(own.kafka, prefix=prefix)))

    cluster = open_log if found.bootstrap_servers else None
    _print(run_bench(quick=quick, seed=seed, open_log=cluster), as_json=as_json)


def _bench_kafka(as_json: bool, quick: bool, repeats: int, seed: int) -> None:
    from usance.cli.opening import settings
    from usance.testing.bench_kafka import run_bench

    def tell(run: dict[str, Any]) -> None:
        shown = {k: v for k, v in run.items() if v is not None}
        say(", ".join(f"{name} {value}" for name, value in shown.items()))

    found = run_bench(
        bootstrap=settings().bootstrap_servers, quick=quick, seed=seed, repeats=repeats, tell=tell
    )
    _print(found, as_json=as_json)


@click.command(cls=Verb)
@click.option("--kills", type=click.IntRange(0), default=10, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), help="On Kafka: how long faults are done.")
@click.option(
    "--brokers",
    type=click.IntRange(1, 5),
    default=3,
    show_default=True,
    help="Brokers to start where --log names none.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def chaos(kills: int, seconds: float | None, brokers: int, seed: int, as_json: bool) -> None:
    """Kill the program with SIGKILL at random moments while a book is fed, and check everything.

    With --seconds it runs on Kafka: workers under a supervisor, brokers and network fail one after the
    other; brokers are started for it, or --log kafka://HOST:PORT names a cluster, of which only workers and
    transactions then fail. It takes two minutes more, to come to rest, to measure recovery and to check; what it
    does is told on the way. Exit code 1 when anything is violated. Examples: usance chaos --kills 50 --json,
    usance chaos --seconds 60 --seed 7 --json
    """
    log = session().flags.get("log", "")
    if seconds is None and not log.startswith("kafka://"):
        from usance.testing.chaos import run_chaos

        found = run_chaos(kills, seed)
    else:
        from usance.testing.chaos_kafka import run_kafka_chaos

        found = run_kafka_chaos(seconds or SECONDS, seed, log=log, brokers=brokers, tell=say)
    _print(found, as_json=as_json)
    if found["violations"]:
        sys.exit(1)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    from usance.cli.show import emit, facts

    if as_json:
        session().said["output"] = "json"
    emit(found, lambda f: facts({name: str(value) for name, value in f.items()}))
