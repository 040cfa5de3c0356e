"""One running program with console and API, for all tests of the web."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from world import CHECKER, World

from usance.web.app import create_app, make_server


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("web"))
    made.fill()
    made.clock.run()
    made.program.start()
    yield made
    made.program.close()


@pytest.fixture(scope="session")
def address(world: World) -> Iterator[str]:
    server = make_server(create_app(world.program), port=0)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    for _ in range(200):
        if server.started:
            break
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "the server does not stop"


@pytest.fixture
def web(address: str) -> Iterator[httpx.Client]:
    """A program on this machine that acts as the engineer."""
    with httpx.Client(base_url=address, headers={"usance-as": CHECKER}, timeout=20) as client:
        yield client
