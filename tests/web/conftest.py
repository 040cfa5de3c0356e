"""One running program with console and API, for all tests of the web."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from world import CHECKER, World

from usance.web.app import create_app, make_server

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync""".split()


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    """Open a page as somebody; afterwards the browser must have had nothing to complain of."""
    contexts, complaints = [], []

    def opened(path: str, who: str = f"{CHECKER}:checker", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
        contexts.append(context)
        context.add_cookies([{"name": "usance_as", "value": who, "url": address}])
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.goto(address + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
