"""The proxy forwards, delays, cuts and freezes, and heals."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from usance.testing.tcp_proxy import TcpProxy


@pytest.fixture
def proxy():
    """A proxy before a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(line,), daemon=True).start()

        def echo(line: socket.socket) -> None:
            with line:
                try:
                    while data := line.recv(65_536):
                        line.sendall(data)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        with TcpProxy(server.getsockname()[1]) as made:
            yield made
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(proxy):
    """A connection through the proxy that already carried something."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as made:
        made.sendall(b"hello")
        assert made.recv(100) == b"hello"
        yield made


def test_what_is_sent_comes_back_whole(line):
    sent = bytes(range(256)) * 4_000
    threading.Thread(target=line.sendall, args=(sent,), daemon=True).start()
    got = b""
    while len(got) < len(sent):
        got += line.recv(65_536)
    assert got == sent


def test_a_last_word_before_the_end_arrives(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line:
        line.sendall(b"last")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b"last"
        assert line.recv(100) == b""


def test_latency_delays_each_way_and_adds_up_over_a_round(proxy, line):
    proxy.latency(0.15)
    started = time.monotonic()
    line.sendall(b"slow")
    assert line.recv(100) == b"slow"
    assert time.monotonic() - started >= 0.29


def test_many_chunks_share_one_delay(proxy, line):
    proxy.latency(0.2)
    started = time.monotonic()
    threading.Thread(target=line.sendall, args=(b"x" * 1_000_000,), daemon=True).start()
    got = 0
    while got < 1_000_000:
        got += len(line.recv(65_536))
    assert time.monotonic() - started < 3.0


def test_a_cut_ends_connections_and_refuses_new_ones_until_healed(proxy, line):
    proxy.cut()
    with pytest.raises(ConnectionError):
        line.recv(100)
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        again.sendall(b"back")
        assert again.recv(100) == b"back"


def test_a_frozen_connection_is_open_and_silent_and_flows_on_when_healed(proxy, line):
    proxy.freeze()
    line.sendall(b"held")
    line.settimeout(0.3)
    with pytest.raises(TimeoutError):
        line.recv(100)
    proxy.heal()
    line.settimeout(5)
    assert line.recv(100) == b"held"


def test_a_server_that_is_down_looks_like_a_closed_door():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The reset may come before connecting has returned, or after.
    with (
        TcpProxy(port) as proxy,
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line,
    ):
        assert line.recv(100) == b""
