"""A TCP proxy on this machine that makes a network bad: slow, cut, or half-open.

`cut` closes every connection and refuses new ones, as a firewall that resets. `freeze` keeps connections
open and moves no byte, as a peer that lost its power: neither side is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

CHUNK = 65_536
HELD_MAX = 64
"""Chunks on their way in one direction, before the sender has to wait."""
STOP_S = 10.0
CLOSING_S = 0.05
"""What connections that were dropped need until their sockets are closed."""

_Held = asyncio.Queue[tuple[float, bytes]]


class TcpProxy:
    """Forwards a free loopback port to `port`; faults are switched by methods, from any thread."""

    def __init__(self, port: int, *, listen: int = 0, host: str = "127.0.0.1") -> None:
        self.target = port
        self.host = host
        self.port = listen
        self.connections = 0
        self._latency = 0.0
        self._answers_left = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing: asyncio.Event
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._thread.start()
        self._do(self._begin())

    def __enter__(self) -> Self:
        """Return itself; it runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def latency(self, seconds: float) -> None:
        """Hold each chunk back for `seconds`, in each direction; 0 ends it."""
        self._latency = seconds

    def cut(self) -> None:
        """Close all connections and refuse new ones until `heal`."""
        self._do(self._cut())

    def cut_at_answer(self, number: int) -> None:
        """Cut in place of the `number`-th chunk that comes back from now on: it was sent, and is lost."""
        self._answers_left = number

    @property
    def cutting(self) -> bool:
        """Tell whether a cut at an answer is still to come."""
        return self._answers_left > 0

    def freeze(self) -> None:
        """Keep connections open and move nothing until `heal`: half-open."""
        self._do(self._set_flowing(False))

    def heal(self) -> None:
        """End latency, cut and freeze; what was held back while frozen flows on."""
        self._latency, self._answers_left = 0.0, 0
        self._do(self._heal())

    def close(self) -> None:
        """Close everything and end the thread."""
        if not self._thread.is_alive():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()

    # -- in the loop's thread

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_S)

    async def _begin(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.target)
        except OSError:
            self._drop(writer)
            return
        self._open.add(far_writer)
        self.connections += 1
        directions = []
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            held: _Held = asyncio.Queue(HELD_MAX)
            self._spawn(self._take(source, held))
            directions.append(self._spawn(self._give(held, sink, answers=sink is writer)))
        await asyncio.wait(directions)
        for one in (writer, far_writer):
            self._open.discard(one)
            one.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take(self, source: asyncio.StreamReader, held: _Held) -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = await source.read(CHUNK)
            except OSError:
                chunk = b""
            await held.put((self._loop.time() + self._latency, chunk))

    async def _give(self, held: _Held, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        while True:
            due, chunk = await held.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._flowing.wait()
            if not chunk or sink.is_closing():
                break
            if answers and self._answers_left:
                self._answers_left -= 1
                if not self._answers_left:
                    await self._cut()
                    break
            with contextlib.suppress(OSError):
                sink.write(chunk)
                await sink.drain()
        # The other direction may still carry an answer to what was sent last.
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        # A reset, not a farewell: the other side must not believe that all was delivered.
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._open]:
            self._drop(writer)

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _heal(self) -> None:
        self._flowing.set()
        if self._server is None:
            await self._listen()

    async def _end(self) -> None:
        await self._cut()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(CLOSING_S)
