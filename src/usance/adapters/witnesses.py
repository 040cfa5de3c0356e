"""Witnesses: a client of C2SP tlog-witness, our own in this process, and a server for others' logs."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from usance.audit.codes import Detected
from usance.audit.note import COSIGNATURE, Verifier, parse_note, parse_signature
from usance.audit.ports import Cosigned
from usance.audit.witness import BODY_BYTES_MAX, PLAIN, Answer, WitnessDesk, request
from usance.kernel.clock import MS_PER_SECOND, Clock
from usance.kernel.errors import Unavailable

TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 16 * 1024


def cosigned(answer: Answer, witness: Verifier, checkpoint: bytes) -> Cosigned:
    """Return what a witness's answer says; raises Detected(WITNESS_REFUSED) or Unavailable."""
    if answer.status == 200:
        found = []
        for line in answer.body.splitlines():
            one = parse_signature(line)
            if (one.name, one.key_id) == (witness.name, witness.key_id):
                found.append(one)
        text = parse_note(checkpoint).text
        if not found or not all(witness.accepts(text, one.blob) for one in found):
            raise Detected("BAD_SIGNATURE", f"the cosignature of {witness.name} does not hold")
        return Cosigned(tuple(found))
    body = answer.body.strip()
    if answer.status == 409 and body.isdecimal() and len(body) < 20:
        return Cosigned(size=int(body))
    if answer.status in (403, 404, 422):
        raise Detected(
            "WITNESS_REFUSED",
            f"witness {witness.name} refuses the head ({answer.status}): {body[:200]}",
            where=witness.name,
            hint="It saw another history, or does not know this log's key.",
        )
    raise Unavailable(
        f"witness {witness.name} answers {answer.status}",
        hint="Ask its operator; it is tried again.",
    )


class HttpWitness:
    """A witness somewhere else. `key` is of kind 4 (cosigner)."""

    def __init__(self, key: Verifier, url: str) -> None:
        assert key.kind == COSIGNATURE
        self.name = key.name
        self.key = key
        self.url = urlsplit(url)

    def add_checkpoint(self, old: int, proof: Sequence[bytes], checkpoint: bytes) -> Cosigned:
        """Offer a head."""
        return cosigned(self._post(request(old, proof, checkpoint)), self.key, checkpoint)

    def _post(self, body: bytes) -> Answer:
        kind = http.client.HTTPSConnection
        plain = http.client.HTTPConnection
        made = kind if self.url.scheme == "https" else plain
        connection = made(self.url.hostname or "", self.url.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", f"{self.url.path.rstrip('/')}/add-checkpoint", body)
            response = connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
            return Answer(response.status, text, response.headers.get("Content-Type", ""))
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"witness {self.name} cannot be reached: {error}",
                hint="Heads are signed without it meanwhile; it is tried again.",
            ) from error
        finally:
            connection.close()


class OwnWitness:
    """A witness in this process, with a key and a memory of its own."""

    def __init__(self, desk: WitnessDesk, clock: Clock) -> None:
        self.name = desk.name
        self.desk = desk
        self.clock = clock

    def add_checkpoint(self, old: int, proof: Sequence[bytes], checkpoint: bytes) -> Cosigned:
        """Offer a head."""
        body = request(old, proof, checkpoint)
        answer = self.desk.add_checkpoint(body, self.clock.now() // MS_PER_SECOND)
        key = Verifier(self.desk.name, self.desk.key.public, COSIGNATURE)
        return cosigned(answer, key, checkpoint)


class WitnessServer:
    """Serves a witness on an address: `POST /add-checkpoint`, `GET /<hex sha256(origin)>/checkpoint`."""

    def __init__(self, desk: WitnessDesk, clock: Clock, host: str, port: int) -> None:
        by_hash = {sha256(o.encode()).hexdigest(): o for o in desk.logs}

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if self.path.rstrip("/") != "/add-checkpoint":
                    self._answer(Answer(404, "only add-checkpoint is here\n"))
                elif not length.isdecimal() or int(length) > BODY_BYTES_MAX:
                    self._answer(Answer(400, "a request has a length, of 64 KiB at most\n"))
                else:
                    body = self.rfile.read(int(length))
                    self._answer(desk.add_checkpoint(body, clock.now() // MS_PER_SECOND))

            def do_GET(self) -> None:
                origin = by_hash.get(self.path.strip("/").removesuffix("/checkpoint"))
                raw = desk.seen.checkpoint(origin) if origin else None
                found = Answer(404, "nothing was seen of such a log\n")
                self._answer(found if raw is None else Answer(200, raw.decode(), PLAIN))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: whoever runs it looks at what it has seen."""

            def _answer(self, answer: Answer) -> None:
                body = answer.body.encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def serve(self) -> None:
        """Serve until `close`."""
        self._server.serve_forever(0.2)

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve, name="witness", daemon=True).start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
