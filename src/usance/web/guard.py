"""The door: this machine's own browser and programs only, bounded bodies, strict headers.

Until people sign in, being on this machine is all the authority there is. So names other than the
loopback's are turned away (DNS rebinding), and so is what another site's page makes a browser send.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usance.web.problems import MEDIA_TYPE, Problem, problem

LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))
BODY_MAX = 2_000_000
"""Bytes of a request's body; a batch of 500 commands of 1 kB fits four times over."""
LISTS_BODY_MAX = 64_000_000
"""Bytes of an import of sanctions lists; the longest published one has a third of it."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Headers = dict[bytes, bytes]


def is_loopback(host: str) -> bool:
    """Return whether a Host header (with or without port) names this machine's loopback."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    return name.lower() in LOOPBACK and port.isdigit()


def body_max(path: str) -> int:
    """Return how many bytes the body of a request to a path may have."""
    return LISTS_BODY_MAX if path == "/lists" else BODY_MAX


def flaw_of(method: str, headers: Headers, path: str) -> Problem | None:
    """Return why a request is turned away at the door, or None."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(host):
        return problem(
            421,
            "HOST_NOT_LOOPBACK",
            "This program answers on the loopback address only, until people sign in.",
            "Open http://127.0.0.1 with its port in a browser on this machine.",
        )
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    site = headers.get(b"sec-fetch-site", b"same-origin")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if site not in (b"same-origin", b"none") or (origin and origin.partition("://")[2] != host):
        return problem(
            403,
            "CROSS_ORIGIN",
            "The request comes from a page of another site.",
            "Act from the pages of this console, or from a program that sends no Origin.",
        )
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 9 or int(length) > body_max(path):
        return too_large()
    return None


def too_large() -> Problem:
    """Return the problem of a body beyond the limit."""
    return problem(
        413,
        "BODY_TOO_LARGE",
        f"The body is longer than {BODY_MAX:,} bytes.",
        "Send fewer commands at once; put long files into the gateway's in folder.",
    )


class BodyTooLarge(Exception):
    """A body without a true length ran over the limit."""


async def send_body(
    send: Send,
    status: int,
    body: bytes,
    media_type: bytes = b"application/json",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send one whole answer."""
    head = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, told: Problem) -> None:
    """Send a problem."""
    headers: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)
    if told.status == 503:
        headers = (*headers, (b"retry-after", b"1"))
    await send_body(send, told.status, told.encode(), MEDIA_TYPE.encode(), headers)


class Guard:
    """Middleware that holds the door, and takes commands past the router (the hot path)."""

    def __init__(self, app: ASGIApp, hot: Any = None) -> None:
        self.app = app
        self.hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        method: str = scope["method"]
        flaw = flaw_of(method, headers, scope["path"])
        if flaw is not None:
            await send_problem(send, flaw)
        elif self.hot is not None and method == "POST" and scope["path"].startswith("/commands/"):
            await self.hot(scope, receive, send, headers)
        else:
            await self._bounded(scope, receive, send)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, size, most = False, 0, body_max(scope["path"])

        async def receive_some() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise BodyTooLarge
            return message

        async def send_safe(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *SECURITY]
            await send(message)

        try:
            await self.app(scope, receive_some, send_safe)
        except BodyTooLarge:
            if not started:
                await send_problem(send, too_large())
