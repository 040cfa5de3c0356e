"""The web application: console and JSON API over one backend, on this machine's loopback only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from usance.kernel.errors import NotFound, Refused, UsanceError
from usance.web import (
    audit_pages,
    flowing,
    listing,
    openapi,
    packs,
    registry,
    rereading,
    retention,
    revealing,
)
from usance.web.answers import Answers
from usance.web.api import CommandEndpoint, Desk, batch, outcome
from usance.web.backend import Backend
from usance.web.guard import BodyTooLarge, Guard
from usance.web.live import Live
from usance.web.problems import problem, problem_of
from usance.web.site import Site, problem_response

__all__ = ["Backend", "ConsoleServer", "create_app", "create_health_app", "make_server"]

LOOPBACK_ADDRESSES = ("127.0.0.1", "localhost", "::1")
STOP_S = 3


@cache
def _openapi() -> bytes:
    try:
        number = version("usance")
    except PackageNotFoundError:
        number = "0"
    return msgspec.json.encode(openapi.document(number))


async def openapi_json(request: Request) -> Response:
    """Answer `GET /openapi.json`."""
    del request
    return Response(await run_in_threadpool(_openapi), media_type="application/json")


async def health_live(request: Request) -> Response:
    """Answer `GET /health/live`: 200 while every part of the program lives, else 503."""
    return await _health(request, "live")


async def health_ready(request: Request) -> Response:
    """Answer `GET /health/ready`: 200 while commands are answered, else 503."""
    return await _health(request, "ready")


async def metrics(request: Request) -> Response:
    """Answer `GET /metrics`, as Prometheus scrapes it."""
    told = await run_in_threadpool(request.app.state.backend.metrics)
    return Response(told, media_type="text/plain; version=0.0.4; charset=utf-8")


async def to_post(request: Request) -> Response:
    """Stand for the commands, which the guard answers: whoever asks otherwise learns that they are posted."""
    raise NotFound(f"no command is called {request.path_params['name'][:60]}")


async def _health(request: Request, part: str) -> Response:
    told = await run_in_threadpool(request.app.state.backend.health)
    body = msgspec.json.encode(told)
    headers = {"cache-control": "no-store"}
    return Response(
        body, 200 if told.get(part) else 503, media_type="application/json", headers=headers
    )


async def _failed(request: Request, error: Exception) -> Response:
    """Answer any error: a problem for programs, a page for people, never a trace."""
    if isinstance(error, BodyTooLarge):
        raise error
    allowed = ""
    if isinstance(error, HTTPException):
        allowed = {k.lower(): v for k, v in (error.headers or {}).items()}.get("allow", "")
        told = problem(
            error.status_code,
            {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "HTTP"),
            "There is no such page." if error.status_code == 404 else str(error.detail),
            f"It answers {allowed}; /openapi.json lists what programs can ask."
            if allowed
            else "Choose a page in the rail; /openapi.json lists what programs can ask.",
        )
    else:
        told = problem_of(error)
    headers = {"allow": allowed} if allowed else {}
    if "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json"):
        site: Site = request.app.state.site
        try:
            page = await run_in_threadpool(site.problem_page, request, told)
            page.headers.update(headers)
            return page
        except Exception:  # noqa: BLE001  where even the frame fails, the problem is told plainly
            return problem_response(told, headers)
    return problem_response(told, headers)


def create_app(backend: Backend) -> Starlette:
    """Return the application over a backend."""
    answers = Answers(backend.gateway)
    desk = Desk(backend, answers)
    site, live = Site(backend, desk), Live(backend)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        watching = asyncio.create_task(flowing.watch(backend))
        yield
        watching.cancel()
        live.close()

    routes = [
        Route("/commands:batch", batch, methods=["POST"]),
        Route("/commands/{name}", to_post, methods=["POST"]),
        Route("/outcomes/{command_id}", outcome, methods=["GET"]),
        Route("/dead-letters/{ref}/reread", rereading.endpoint, methods=["POST"]),
        Route("/openapi.json", openapi_json, methods=["GET"]),
        Route("/live", live.endpoint, methods=["GET"]),
        Route("/health/live", health_live, methods=["GET"]),
        Route("/health/ready", health_ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        *packs.ROUTES,
        *audit_pages.ROUTES,
        *listing.ROUTES,
        *retention.ROUTES,
        *revealing.ROUTES,
        registry.mount(),
        Mount("/static", StaticFiles(packages=[("usance.web", "static")])),
        *site.routes(),
    ]
    failures = (UsanceError, msgspec.DecodeError, HTTPException, Exception)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hot=CommandEndpoint(desk))],
        exception_handlers=dict.fromkeys(failures, _failed),
        lifespan=lifespan,
    )
    app.state.backend = backend
    app.state.answers = answers
    app.state.desk = desk
    app.state.site = site
    app.state.live = live
    app.state.viewer_of = site.viewer_of
    return app


def create_health_app(backend: Backend) -> Starlette:
    """Return what a process without the console answers: whether it lives and is ready."""
    routes = [
        Route("/health/live", health_live, methods=["GET"]),
        Route("/health/ready", health_ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
    app = Starlette(routes=routes)
    app.state.backend = backend
    return app


class ConsoleServer(uvicorn.Server):
    """A server that ends its live streams before it waits for requests under way."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: streams first, then what is under way, then the rest."""
        app = self.config.app
        live = getattr(app.state, "live", None) if isinstance(app, Starlette) else None
        if live is not None:
            live.close()
        await super().shutdown(sockets)


def make_server(app: Starlette, host: str = "127.0.0.1", port: int = 8400) -> ConsoleServer:
    """Return a server for the application; raises Refused for any but a loopback address."""
    if host not in LOOPBACK_ADDRESSES:
        raise Refused(
            "NOT_LOOPBACK",
            "Console and API listen on the loopback address only, until people sign in.",
            hint=f"Use one of {', '.join(LOOPBACK_ADDRESSES)}.",
        )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        proxy_headers=False,
    )
    return ConsoleServer(config)
