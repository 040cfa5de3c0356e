"""Inputs of a chaos run over HTTP: asked again until there is an answer, and now and then once more."""

from __future__ import annotations

import http.client
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote, urlsplit

import msgspec

from usance.kernel.ids import namespace_of, uuid5_text
from usance.messages.inputs import decode_input
from usance.testing.chaos_book import Given
from usance.testing.workload import BANK, TENANT

ANSWER_S = 8.0
AGAIN_S = 0.3
THREADS = 3
UNDER_WAY = (202, 409)
DECIDED = {200: "accepted", 422: "refused"}


class _Request:
    """A command as it is sent, and how many answers are still wanted."""

    def __init__(self, given: Given, times: int) -> None:
        found = decode_input(given.data, tenant=TENANT, our_bic=BANK)
        document = msgspec.json.decode(given.data)
        self.idempotency_key = f"http-{document['id']}"
        self.command_id = uuid5_text(namespace_of(TENANT), self.idempotency_key)
        self.path = f"/commands/{type(found.command).__name__}?key={quote(found.key, safe='')}"
        self.body = msgspec.json.encode(found.command)
        self.person = f"{found.actor.person}:{found.actor.role}"
        self.left = times


class Caller:
    """Sends requests from a few threads; `answers` are those heard, by command id."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.url = url
        self.answers: dict[str, set[str]] = {}
        self.last = ""
        self.running = False
        self._open = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        self.running = True
        for number in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"caller-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def give(self, given: Given, times: int) -> Given:
        """Have an input sent until it was answered so often; returns it under the id that it has here."""
        request = _Request(given, times)
        with self._lock:
            self._open += 1
        self._requests.put(request)
        return given._replace(command_id=request.command_id)

    def open(self) -> int:
        """Return how many requests still want an answer."""
        with self._lock:
            return self._open

    def end(self) -> None:
        """Stop sending."""
        self.running = False
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                request = self._requests.get(timeout=0.2)
            except queue.Empty:
                continue
            answer = self._ask(request)
            if answer:
                request.left -= 1
                with self._lock:
                    self.answers.setdefault(request.command_id, set()).add(answer)
                    self._open -= request.left == 0
            else:
                self._over.wait(AGAIN_S)
            if request.left:
                self._requests.put(request)

    def _ask(self, request: _Request) -> str:
        """Return the decision, empty for none yet."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": request.idempotency_key,
            "Usance-As": request.person,
        }
        status = self._sent("POST", request.path, request.body, headers)
        if status in UNDER_WAY:  # it was kept, and is not sent again while it is being decided
            status = self._sent("GET", f"/outcomes/{request.command_id}", b"", headers)
        return DECIDED.get(status, "")

    def _sent(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Return the answer's code, 0 for none."""
        address = urlsplit(self.url())
        if not address.port:
            return 0
        line = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)
        try:
            line.request(method, path, body, headers)
            response = line.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as trouble:
            self.last = type(trouble).__name__
            return 0
        finally:
            with suppress(OSError):
                line.close()
        self.last = f"{response.status} {text[:200]!r}"
        return response.status
