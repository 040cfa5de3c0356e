"""Tessera, the transparency log that others run, under its own load generator: what this machine seals with it.

`make bench-peers` builds both from the Go module proxy, at the version whose verifier the tests use; where they
are not built, there is no figure. Tessera's POSIX log takes entries over HTTP, keeps them on this disk, and
signs its heads; its hammer writes as fast as that goes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from usance.audit.note import SigningKey, Verifier, b64
from usance.kernel.clock import SystemClock
from usance.testing.third_parties import free_port, go, listens

MODULES = (
    "github.com/transparency-dev/tessera/cmd/conformance/posix@v1.0.4",
    "github.com/transparency-dev/tessera/internal/hammer@v1.0.4",
)
PROGRAMS = ("posix", "hammer")
LEAF_BYTES, WRITERS = 62, 256
BUILD_S, START_S, RUN_S = 1_200, 30, 300
NAME = "tessera.example/bench"


def folder() -> Path:
    """Return where the programs of these versions are kept: in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "usance" / "tessera" / sha256(repr(MODULES).encode()).hexdigest()[:16]


def built() -> bool:
    """Tell whether both programs are there."""
    return all((folder() / name).exists() for name in PROGRAMS)


def build() -> str:
    """Build what is missing; returns what to tell people."""
    program = go()
    if built():
        return "Tessera is built."
    if program is None:
        return "Tessera is not measured beside us: that needs Go."
    folder().mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603  the program found above
        [program, "install", *MODULES],
        env={**os.environ, "GOBIN": str(folder())},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    return "Tessera is built." if built() else f"Tessera cannot be built: {done.stderr[-500:]}"


def secret_key(seed: bytes, name: str) -> str:
    """Return a signing key in the one-line form of Go's `sumdb/note`."""
    verifier = Verifier(name, SigningKey(seed).public)
    coded = b64(bytes([verifier.kind]) + seed)
    return f"PRIVATE+KEY+{name}+{verifier.key_id.hex()}+{coded}"


def leaves_per_s(place: Path, seed: bytes, leaves: int) -> int | None:
    """Return how many entries a second Tessera takes from its hammer; None where it is not built."""
    if not built():
        return None
    place.mkdir(parents=True)
    (place / "key").write_text(secret_key(seed, NAME), encoding="ascii")
    port = free_port()
    server = subprocess.Popen(  # noqa: S603  built above
        [
            str(folder() / "posix"), f"--storage_dir={place / 'log'}", f"--listen=127.0.0.1:{port}",
            f"--private_key={place / 'key'}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return _hammered(port, Verifier(NAME, SigningKey(seed).public).vkey, leaves)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(START_S)


def _hammered(port: int, vkey: str, leaves: int) -> int | None:
    clock = SystemClock()
    deadline = clock.monotonic() + START_S
    while not listens(port):
        if clock.monotonic() > deadline:
            return None
        clock.sleep(0.02)
    start = clock.monotonic()
    done = subprocess.run(  # noqa: S603  built above
        [
            str(folder() / "hammer"), f"--log_url=http://127.0.0.1:{port}", f"--log_public_key={vkey}",
            "--max_read_ops=0", "--num_readers_random=0", "--num_readers_full=0",
            f"--num_writers={WRITERS}", f"--max_write_ops={10 * leaves}", f"--leaf_min_size={LEAF_BYTES}",
            "--dup_chance=0", f"--leaf_write_goal={leaves}", "--show_ui=false",
        ],
        capture_output=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    return None if done.returncode else round(leaves / (clock.monotonic() - start))


if __name__ == "__main__":
    print(build(), file=sys.stderr)
