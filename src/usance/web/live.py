"""Live parts: one look at the program per second, told to every open page by server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from usance.kernel.errors import Unavailable
from usance.web.backend import Backend

LOOK_S = 1.0
BEAT_LOOKS = 15
"""Looks without news after which something is sent all the same, so that a dead line is noticed."""
WATCHERS_MAX = 64


class Light(msgspec.Struct, frozen=True, kw_only=True):
    """The one light of the top bar. `tone`: good | wait | bad; `words` say what it means."""

    tone: str
    words: str
    position: str
    now: int


def light(backend: Backend) -> Light:
    """Look at the program once: log reachable, owner live, lag."""
    now = backend.clock.now()
    try:
        health, place = backend.health(), backend.queries.position()
    except Exception as error:  # noqa: BLE001  whatever fails here is what the light must show
        return Light(
            tone="bad", words=f"log not reachable ({type(error).__name__})", position="", now=now
        )
    behind = health.get("projector_lag") or 0
    lag = sum(behind.values()) if isinstance(behind, dict) else int(behind)
    trouble = health.get("trouble") or {}
    if trouble:
        tone, words = "bad", f"{', '.join(sorted(trouble))} in trouble: see System"
    elif not health.get("live", True):
        tone, words = "bad", "a part has stopped: see System"
    elif not health.get("ready", True):
        tone, words = "wait", "starting, or paused: see System"
    elif lag > 0:
        tone, words = "wait", f"log and owner live, pages {lag} records behind"
    else:
        tone, words = "good", "log and owner live, pages up to date"
    return Light(tone=tone, words=words, position=place, now=now)


class Live:
    """Watches the program while somebody watches a page; tells what changed."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.watchers = 0
        self.closed = False
        self._light: Light | None = None
        self._turn: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self.closed = True
        if self._turn is not None:
            self._turn.set()

    async def endpoint(self, request: Request) -> Response:
        """Answer `GET /live`."""
        del request
        if self.watchers >= WATCHERS_MAX:
            raise Unavailable(
                "too many pages are live", hint="Close some: the rest reload by hand."
            )
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=headers)

    async def _stream(self) -> AsyncIterator[str]:
        self.watchers += 1
        try:
            if self._turn is None or self._task is None or self._task.done():
                self._turn = asyncio.Event()
                self._task = asyncio.create_task(self._watch())
            yield "retry: 2000\n\n"
            if self._light is not None:
                yield _event(self._light)
            while not self.closed:
                await self._turn.wait()
                if self._light is not None:
                    yield _event(self._light)
        finally:
            self.watchers -= 1

    async def _watch(self) -> None:
        quiet = 0
        while self.watchers and not self.closed:
            seen: Any = await run_in_threadpool(light, self.backend)
            before, quiet = self._light, quiet + 1
            changed = before is None or (before.position, before.words) != (
                seen.position,
                seen.words,
            )
            if changed or quiet >= BEAT_LOOKS:
                self._light, quiet = seen, 0
                turn, self._turn = self._turn, asyncio.Event()
                assert turn is not None
                turn.set()
            await asyncio.sleep(LOOK_S)


def _event(seen: Light) -> str:
    return f"event: light\ndata: {msgspec.json.encode(seen).decode()}\n\n"
