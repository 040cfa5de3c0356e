"""Trusted time: a local authority made of openssl, over HTTP, honest and otherwise."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from usance.adapters.time_stamps import HttpTimeAuthority
from usance.audit.codes import Detected
from usance.kernel.errors import Unavailable

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")

CONFIG = """
[ tsa ]
default_tsa = t
[ t ]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
[ ext ]
extendedKeyUsage = critical,timeStamping
"""


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a root (`ca.pem`) and a signer for time stamps."""
    folder = tmp_path_factory.mktemp("tsa")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    for name, subject in (("ca", "/CN=Test root"), ("tsa", "/CN=Test clock")):
        openssl("genrsa", "-out", folder / f"{name}.key", "2048")
        if name == "ca":
            more = ("-x509", "-days", "30", "-out", folder / "ca.pem")
        else:
            more = ("-out", folder / "tsa.csr")
        openssl("req", "-new", "-key", folder / f"{name}.key", "-subj", subject, *more)
    openssl(
        "x509", "-req", "-in", folder / "tsa.csr", "-CA", folder / "ca.pem", "-CAkey",
        folder / "ca.key", "-CAcreateserial", "-days", "30", "-extfile", folder / "tsa.cnf",
        "-extensions", "ext", "-out", folder / "tsa.pem",
    )  # fmt: skip
    return folder


@pytest.fixture
def server(authority: Path) -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        replay = b""

        def do_POST(self) -> None:
            query = authority / "query.tsq"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            openssl(
                "ts", "-reply", "-config", authority / "tsa.cnf", "-section", "t", "-queryfile",
                query, "-signer", authority / "tsa.pem", "-inkey", authority / "tsa.key", "-out",
                authority / "reply.tsr",
            )  # fmt: skip
            body = Handler.replay or (authority / "reply.tsr").read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def asked(server: HTTPServer, root: Path) -> HttpTimeAuthority:
    return HttpTimeAuthority(f"http://127.0.0.1:{server.server_address[1]}/", root)


def test_a_stamp_is_verified_before_it_is_kept(server: HTTPServer, authority: Path):
    stamp = asked(server, authority / "ca.pem").stamp(b"a signed head")
    (authority / "kept.tsr").write_bytes(stamp)
    (authority / "data").write_bytes(b"a signed head")
    openssl(
        "ts", "-verify", "-in", authority / "kept.tsr", "-data", authority / "data", "-CAfile",
        authority / "ca.pem", "-untrusted", authority / "tsa.pem",
    )  # fmt: skip


def test_a_replayed_stamp_and_a_strangers_root_are_refused(server: HTTPServer, authority: Path):
    ours = asked(server, authority / "ca.pem")
    server.RequestHandlerClass.replay = ours.stamp(b"another head")  # type: ignore[attr-defined]
    with pytest.raises(Detected):
        ours.stamp(b"a signed head")
    server.RequestHandlerClass.replay = b""  # type: ignore[attr-defined]
    with pytest.raises(Detected):
        asked(server, authority / "tsa.pem").stamp(b"a signed head")


def test_an_authority_that_is_away_is_asked_again_later(authority: Path):
    away = HttpTimeAuthority("http://127.0.0.1:9/", authority / "ca.pem")
    with pytest.raises(Unavailable):
        away.stamp(b"a signed head")
