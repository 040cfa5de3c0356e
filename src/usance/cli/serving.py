"""Serving: the parts in their threads, console and API in the main one, an end without loss."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

from usance.bootstrap.backend import demand_log, log_exists, resident
from usance.bootstrap.book import BookInput, before, play, read_book, sample_book, unplayed
from usance.bootstrap.desk import clock_of, folder_of
from usance.bootstrap.observing import provide
from usance.bootstrap.retention_watch import RetentionWatch
from usance.bootstrap.roles import ALL, OWNER, WEB
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.served import ServedDesk
from usance.bootstrap.store import found_log
from usance.bootstrap.supervisor import Supervisor, Worker
from usance.cli.options import say, session, tell_error
from usance.cli.show import emit_line, progress_on
from usance.config import Settings
from usance.engine import logs
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import NotFound, Owned, Refused, Unavailable, UsanceError
from usance.messages.catalogue import default
from usance.web.app import ConsoleServer, create_app, create_health_app, make_server

BACKLOG = 128
CLOSE_S = 15.0
OWNED_RETRY_S = 1.5
"""A reader holds the folder for a moment while its views catch up: no reason to give up."""


def supervise(settings: Settings, roles: frozenset[str], workers: int, *, with_book: bool) -> None:
    """Run workers as processes of their own and start again those that die, until a signal comes."""
    logs.configure()
    if not settings.bootstrap_servers:
        raise Refused(
            "WORKERS_NEED_KAFKA",
            "an embedded log is owned by one process",
            hint="Leave --workers out, or name a cluster: --log kafka://HOST:PORT.",
        )
    if with_book:
        raise Refused(
            "BOOK_NEEDS_ONE_WORKER",
            "a book is played by one process",
            hint="Play it first: usance start --demo; then start the workers.",
        )
    plan = [_worker(settings, roles, number) for number in range(workers)]
    if sys.platform == "linux":  # a fork has all that the supervisor has imported
        _import_all()
        plan = [one._replace(arguments=one.arguments[2:], run=_work) for one in plan]
    code = Supervisor(plan, SystemClock(), say).run()
    if code:
        sys.exit(code)


def _import_all() -> None:
    """Import what a worker on a cluster will need, and make what every one makes of it, once."""
    for name in ("usance.adapters.kafka_log", "usance.bootstrap.kafka"):
        import_module(name)
    default()
    gc.collect()
    gc.freeze()  # what all share stays shared: no collector of a worker writes to it


def _work(arguments: Sequence[str]) -> None:
    """Be a worker: the same command line that would start it alone."""
    from usance.cli.main import main

    main([*arguments])


def _worker(settings: Settings, roles: frozenset[str], number: int) -> Worker:
    """Return one worker: the console runs in the first one, every one has a slot and a port of its own."""
    mine = roles if number == 0 else roles - {WEB}
    port = settings.web.port + number if settings.web.port else 0
    arguments = ["-m", "usance", "start", "--role", ",".join(sorted(mine)), "--port", str(port)]
    environ = {
        "USANCE_LOG": settings.log,
        "USANCE_DATA": settings.data,
        "USANCE_VIEWS": settings.views,
        "USANCE_BANK_TENANT": settings.bank.tenant,
        "USANCE_KAFKA_SLOT": f"{settings.kafka.slot}-{number}",
        "USANCE_KEYS_SERVICE": settings.keys.service,
        "USANCE_KEYS_SECRET_FILE": settings.keys.secret_file,
    }
    return Worker(f"worker {number}", arguments, environ)


def serve(
    settings: Settings, with_book: bool, book: Path | None, roles: frozenset[str] = ALL
) -> None:
    """Open the folder, listen, play the book if asked to, and run until a signal comes."""
    logs.configure()
    provide(settings.telemetry)
    inputs = read_book(book or sample_book()) if with_book else []
    listener = _listen(settings.web.host, settings.web.port)
    port: int = listener.getsockname()[1]
    try:
        runtime = _open(resident(settings), inputs, roles)
    except BaseException as error:
        listener.close()
        if isinstance(error, NotFound):  # a broker that starts knows its topics one by one
            raise Unavailable(error.message, hint=error.hint) from error
        raise
    app = create_app(runtime) if WEB in roles else create_health_app(runtime)
    server = make_server(app, settings.web.host, port)
    player = _Player(runtime, inputs, server)
    _on_signals(server, runtime)
    try:
        _welcome(settings, port, roles)
        player.start()
        server.run(sockets=[listener])
    finally:
        runtime.stopping.set()
        player.join()
        _close(runtime, player)
    if player.error or runtime.fatal:
        raise player.error or runtime.fatal or AssertionError
    say("Stopped; everything that was answered is in the log.")


def _close(runtime: Runtime, player: _Player) -> None:
    """Close everything; a cluster's client that met its end may hang in that, and is not waited for long."""
    stop = player.error or runtime.fatal
    if stop is None or not runtime.settings.bootstrap_servers:
        runtime.close()
        return

    def close() -> None:
        with suppress(UsanceError):  # what ended it is told, not what followed
            runtime.close(clean=False)

    closing = threading.Thread(target=close, name="closing", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    if closing.is_alive():
        tell_error(stop)
        sys.stderr.flush()
        os._exit(stop.exit_code)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # who reads the printed address can connect at once
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"port {port} of {host} cannot be had: {error.strerror}",
            hint="Another program listens there, perhaps another usance: choose --port.",
        ) from error
    return listener


def _open(settings: Settings, inputs: list[BookInput], roles: frozenset[str]) -> Runtime:
    folder = folder_of(settings)
    fresh = not log_exists(folder.log, settings)
    clock = before(inputs) if fresh and inputs else clock_of(folder, settings)
    if settings.bootstrap_servers:
        if fresh and inputs:
            found_log(folder, settings, clock)
        elif fresh:
            demand_log(folder.log, settings)
        from usance.bootstrap.kafka import check_safe

        check_safe(settings)
    early = bool(settings.bootstrap_servers) and not isinstance(clock, BookClock)
    patience = SystemClock()
    deadline = patience.monotonic() + OWNED_RETRY_S
    while True:
        try:
            return Runtime(folder, settings, clock, roles=roles, early=early)
        except Owned:
            if patience.monotonic() > deadline:
                raise
            patience.sleep(0.05)


class _Player(threading.Thread):
    """Plays what is left of the book, lets the clock run, then gives each part its thread."""

    def __init__(self, runtime: Runtime, book: list[BookInput], server: ConsoleServer) -> None:
        super().__init__(name="book", daemon=True)
        self.runtime = runtime
        self.book = book
        self.server = server
        self.error: UsanceError | None = None

    def run(self) -> None:
        runtime = self.runtime
        try:
            if self.book and isinstance(runtime.clock, BookClock):
                play(
                    runtime,
                    unplayed(runtime, self.book),
                    progress_on("inputs played"),
                    runtime.stopping,
                )
            elif self.book:
                say("This folder's book has real time: the sample book is not played into it.")
            if isinstance(runtime.clock, BookClock):
                runtime.clock.run()
            if not runtime.stopping.is_set():
                self._watch_retention()
                runtime.start(views_apart=(os.cpu_count() or 1) > 1)
                runtime.stopping.wait()
        except UsanceError as error:
            self.error = error
        finally:
            self.server.should_exit = True

    def _watch_retention(self) -> None:
        """Have proposed what falls due: only once others decide, as it waits for their answers."""
        runtime = self.runtime
        if OWNER in runtime.roles and runtime.store.vault is not None:
            desk = ServedDesk(runtime)
            runtime.parts["retention"] = RetentionWatch(desk, SystemClock())


def _on_signals(server: ConsoleServer, runtime: Runtime) -> None:
    """End on the first signal, in order; on the second one at once."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if came:
            os._exit(128 + number)
        came.append(number)
        server.should_exit = True
        runtime.stopping.set()
        say("Finishing what is under way; once more ends at once.")

    server.handle_exit = stop  # type: ignore[method-assign, assignment]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _program() -> str:
    """Return what to type for this program: its path where the shell does not find the name."""
    if shutil.which("usance"):
        return "usance"
    as_module = Path(sys.argv[0]).name == "__main__.py"
    return "python -m usance" if as_module else os.path.relpath(sys.argv[0])


def _welcome(settings: Settings, port: int, roles: frozenset[str]) -> None:
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    address = f"http://{host}:{port}/"
    if session().json:
        emit_line({"url": address, "pid": os.getpid(), "data": settings.data})
        return
    if WEB not in roles:
        say(f"Running {', '.join(sorted(roles))}; health at {address}health/ready")
        return
    more = "" if settings.data == "data" else f" --data {settings.data}"
    if settings.bootstrap_servers:
        more += f" --log {settings.log}"
    click.echo(f"\nConsole   {address}   (no authentication yet: this machine only)\n\nTry:")
    for words in (
        "status",
        "work list --as dev.raghavan",
        "credit list",
        "credit timeline TF26LC0101",
        "log verify",
    ):
        click.echo(f"  {_program()} {words}{more}")
    click.echo("")
