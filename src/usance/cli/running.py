"""`usance start` and `usance demo`: everything in one process, with or without the sample book."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from usance.cli.options import Verb, session

book_option = click.option(
    "--book",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Play this book instead of the sample book.",
)


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@book_option
def demo(as_json: bool, book: Path | None) -> None:
    """Play the sample book and print a summary; in a temporary folder unless --data names one.

    With --log kafka://HOST:PORT it is played on that cluster, under topics of its own that are
    deleted afterwards unless --data is given. Exit code 0 only if every input is accounted for, the trial
    balance is zero, the chain verifies and all views are caught up. Example: usance demo --json
    """
    if as_json:
        session().said["output"] = "json"
    named = session().flags.get("data")
    if named is not None:
        _demo(Path(named), book)
        return
    with tempfile.TemporaryDirectory(prefix="usance-demo-") as folder:
        _demo(Path(folder), book, passing=True)


def _demo(data: Path, book: Path | None, *, passing: bool = False) -> None:
    from usance.bootstrap.backend import log_exists, remove_log
    from usance.bootstrap.book import before, play, read_book, sample_book
    from usance.bootstrap.runtime import Runtime
    from usance.bootstrap.store import Folder, found_log
    from usance.cli.opening import settings
    from usance.cli.show import progress_on
    from usance.cli.summary import account_for
    from usance.engine import logs
    from usance.kernel.errors import Refused

    logs.configure()
    found = settings(data=str(data))
    if found.bootstrap_servers and passing:
        found = settings(data=str(data), kafka__prefix=f"{data.name.lower()}.")
    if log_exists(data / "log.sqlite", found):
        raise Refused(
            "BOOK_EXISTS",
            f"{found.log if found.bootstrap_servers else data} holds a book already",
            hint="Name an empty folder with --data, or leave --data out.",
        )
    inputs = read_book(book or sample_book())
    clock = before(inputs)
    if found.bootstrap_servers:
        found_log(Folder(data), found, clock)
    try:
        runtime = Runtime(Folder(data), found, clock)
        try:
            play(runtime, inputs, progress_on("inputs played"))
            good = account_for(runtime)
        finally:
            runtime.close()
    finally:
        if found.bootstrap_servers and passing:
            remove_log(found)
    if not good:
        sys.exit(1)


@click.command(cls=Verb)
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of console and API (8400).")
@click.option("--host", help="Loopback address to listen on (127.0.0.1).", metavar="ADDRESS")
@click.option("--demo", "with_demo", is_flag=True, help="Play the sample book first.")
@click.option(
    "--role",
    default="all",
    help="Run only intake, notary, owner, projector, saga-router or web (joined by commas); on Kafka.",
    metavar="ROLES",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="Processes to run and to start again when they die; on Kafka.",
)
@book_option
def start(
    port: int | None,
    host: str | None,
    with_demo: bool,
    role: str,
    workers: int,
    book: Path | None,
) -> None:
    """Start gateway, owner, sagas, views, console and API: in one process, or some roles of them.

    SIGTERM and Ctrl-C finish what is under way. Examples: usance start --demo,
    usance start --log kafka://127.0.0.1:9092 --role owner --workers 2
    """
    from usance.bootstrap.roles import roles_of
    from usance.cli.opening import settings
    from usance.cli.serving import serve, supervise

    found = settings(web__port=port, web__host=host)
    with_book = with_demo or book is not None
    if workers > 1:
        supervise(found, roles_of(role), workers, with_book=with_book)
        return
    serve(found, with_book, book, roles_of(role))
