"""What we measure Tessera with: its key's form, and what is said where it is not there."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import Any

from usance.audit.note import SigningKey
from usance.testing import bench_tessera


def test_a_signing_key_is_written_as_go_reads_it() -> None:
    seed = bytes(range(32))
    private, key, name, hashed, coded = bench_tessera.secret_key(seed, "log.example/a").split("+")
    assert (private, key, name) == ("PRIVATE", "KEY", "log.example/a")
    assert base64.b64decode(coded) == b"\x01" + seed
    public = b"\x01" + SigningKey(seed).public
    assert hashed == sha256(name.encode() + b"\n" + public).digest()[:4].hex()


def test_where_it_is_not_built_there_is_no_figure(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bench_tessera, "go", lambda: None)
    assert not bench_tessera.built()
    assert "needs Go" in bench_tessera.build()
    assert bench_tessera.leaves_per_s(tmp_path / "log", bytes(32), 10) is None
    for name in bench_tessera.PROGRAMS:
        bench_tessera.folder().mkdir(parents=True, exist_ok=True)
        (bench_tessera.folder() / name).touch()
    assert bench_tessera.build() == "Tessera is built."
