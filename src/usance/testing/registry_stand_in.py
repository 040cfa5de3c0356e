"""A schema registry with Confluent's interface in this process: for tests of what happens while one is down."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class StandIn:
    """Answers as Confluent's registry does. `forgetful` answers an alias-only change as Apicurio 3.3 does.

    `hangs` is what that does when it is asked for a GUID: a gateway before it says 504.
    """

    def __init__(self, *, forgetful: bool = False) -> None:
        self.forgetful = forgetful
        self.failing = 0
        self.hangs = False
        self.guids: dict[str, str] = {}
        self.asked: list[str] = []
        self.texts: dict[int, str] = {}
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def _do(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, body = outer.answer(
                    self.command, unquote(self.path.partition("?")[0]), json.loads(raw or b"null")
                )
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _do  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and body of one request; `failing` is the status of all while it is set."""
        self.asked.append(f"{method} {path}")
        if self.failing:
            return self.failing, {"error_code": 50001, "message": "down"}
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["schemas", "ids", number]:
                text = self.texts.get(int(number))
                return (200, {"schema": text}) if text else (404, {"error_code": 40403})
            case "GET", ["schemas", "guids", guid]:
                if self.hangs:
                    return 504, None
                found = self.guids.get(guid)
                return (200, {"schema": found}) if found else (404, {"error_code": 40403})
            case "POST", ["subjects", subject, "versions"]:
                return self._register(subject, body["schema"])
            case "POST", ["subjects", subject]:
                for i in self.subjects.get(subject, ()):
                    if json.loads(self.texts[i]) == json.loads(body["schema"]):
                        return 200, {"id": i, "schema": self.texts[i], "subject": subject}
                return 404, {"error_code": 40403 if subject in self.subjects else 40401}
            case "GET", ["subjects", subject, "versions"]:
                versions = self.subjects.get(subject)
                return (
                    (200, [*range(1, len(versions) + 1)])
                    if versions
                    else (404, {"error_code": 40401})
                )
            case "GET", ["subjects", subject, "versions", number]:
                i = self.subjects[subject][int(number) - 1]
                return 200, {"id": i, "schema": self.texts[i], "version": int(number)}
            case "PUT", ["config", subject]:
                self.levels[subject] = body["compatibility"]
                return 200, body
        return 405, {"error_code": 405}

    def _register(self, subject: str, text: str) -> tuple[int, Any]:
        spec = json.loads(text)
        for i, known in self.texts.items():
            other = json.loads(known)
            if other == spec or (self.forgetful and _bare(other) == _bare(spec)):
                ids = self.subjects.setdefault(subject, [])
                if i not in ids:
                    ids.append(i)
                return 200, {"id": i}
        if spec.get("name") == "Refused":
            return 409, {"error_code": 409, "message": "incompatible"}
        given = len(self.texts) + 101
        self.texts[given] = text
        self.subjects.setdefault(subject, []).append(given)
        return 200, {"id": given}


def _bare(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {k: _bare(v) for k, v in spec.items() if k not in ("aliases", "doc")}
    return [_bare(v) for v in spec] if isinstance(spec, list) else spec
