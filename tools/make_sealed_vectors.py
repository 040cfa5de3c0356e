"""Write tests/crypto/vectors/sealed.json: envelopes that every later version must open.

Run once; the file is history from then on. `--force` writes it anew, which only a new format may ask for.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path

from usance.crypto.sealing import NO_REVISION, SUITES, Place, SealingKey, place_aad

TARGET = Path(__file__).parent.parent / "tests" / "crypto" / "vectors" / "sealed.json"
PLAINS = {
    "empty": b"",
    "one": b"\x00",
    "text": "Grüße aus Zürich, 200 MT TEAK".encode(),
    "two hundred": bytes(range(200)),
    "a block of avro": b"\x0eparty-1\x24ALBION FURNITURE LTD\x00\x00",
    "most": bytes(n * 7 & 255 for n in range(65_536)),
}
TENANTS = ("albion", "бáнк-丸", "a")


def main() -> None:
    """Make the file unless it is there."""
    if TARGET.exists() and "--force" not in sys.argv:
        sys.exit(f"{TARGET} is there: it must never change")
    dice = random.Random(20_261_128)
    envelopes = [
        _envelope(dice, suite, name, plain, block, count)
        for suite in SUITES
        for name, plain in PLAINS.items()
        for count in ((1, 3) if name in ("empty", "text", "two hundred") else (1,))
        for block in range(count)
    ]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(e, ensure_ascii=False) for e in envelopes)
    TARGET.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _envelope(
    dice: random.Random, suite: int, name: str, plain: bytes, block: int, count: int
) -> dict[str, object]:
    tenant = dice.choice(TENANTS)
    revision = dice.choice((1, 7, 2**32, NO_REVISION))
    stream = f"{tenant}/credit/TF26LC{dice.randrange(10**6):06d}"
    place = Place(tenant, stream, revision, dice.randbytes(16).hex(), "usance.trade.CreditApplied")
    key = SealingKey(dice.randbytes(16), secret := dice.randbytes(32), suite)
    field, schema = f"block_{block}", dice.randbytes(8)
    sealed = key.seal(plain, place_aad(place, field, schema), dice.randbytes(12))
    return {
        "name": f"suite {suite}, {name}, block {block + 1} of {count}",
        "suite": suite,
        "key_id": key.key_id.hex(),
        "key": secret.hex(),
        **place._asdict(),
        "block": field,
        "schema": schema.hex(),
        "plain": base64.b64encode(plain).decode() if len(plain) < 300 else "most",
        "sealed": base64.b64encode(sealed).decode(),
    }


if __name__ == "__main__":
    main()
