"""Secret sharing by Shamir: any `threshold` of the shares give the secret, fewer tell nothing of it.

Each byte of the secret is the constant of a random polynomial over GF(2^8), reduced by x^8 + x^4 +
x^3 + x + 1; a share is the polynomials' values at its index (1 to 255). Source: A. Shamir, "How to
share a secret", 1979; the field is that of HashiCorp Vault, whose shares have the index last.

A share is handed out as a line of text that knows what it is: version, commitment of the secret (so
that shares of another ceremony are found out), threshold, index, value, and a check against misreading.
The arithmetic is not constant in time: it runs at ceremonies, not in a service that others can time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from usance.crypto.secret import Secret
from usance.kernel.errors import Refused, Unreadable
from usance.kernel.ids import Entropy, system_entropy

SHARES = 5
THRESHOLD = 3
SHARES_MAX = 255
COMMITMENT_BYTES = 16
_COMMITMENT_LABEL = b"usance/shamir/commitment/v1"
_CHECK_DIGITS = 8
_FORM = re.compile(
    r"usance-share-1\.(?P<set>[0-9a-f]{32})\.(?P<threshold>\d{1,3})\.(?P<index>\d{1,3})"
    r"\.(?P<value>(?:[0-9a-f]{2})+)\.(?P<check>[0-9a-f]{8})"
)


def _tables() -> tuple[list[int], list[int]]:
    exponents, logs = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logs[value] = power
        doubled = value << 1 ^ (0x11B if value & 0x80 else 0)
        value ^= doubled  # times 3, which generates the field's group
    return exponents, logs


_EXPONENTS, _LOGS = _tables()


def multiply(a: int, b: int) -> int:
    """Return the product of two elements of GF(2^8)."""
    return _EXPONENTS[_LOGS[a] + _LOGS[b]] if a and b else 0


def divide(a: int, b: int) -> int:
    """Return the quotient of two elements of GF(2^8); raises ZeroDivisionError."""
    if b == 0:
        raise ZeroDivisionError("division by zero in GF(2^8)")
    return _EXPONENTS[_LOGS[a] - _LOGS[b] + 255] if a else 0


@dataclass(frozen=True, slots=True, repr=False)
class Share:
    """One share: index (1 to 255), value (as long as the secret), and whose it is."""

    index: int
    value: bytes
    threshold: int
    commitment: bytes

    def __repr__(self) -> str:
        """Show which share it is, and not its value."""
        return f"Share({self.index}, of any {self.threshold}, of {self.commitment.hex()[:8]})"

    def text(self) -> str:
        """Return the line that a custodian keeps."""
        body = (
            f"usance-share-1.{self.commitment.hex()}.{self.threshold}.{self.index}"
            f".{self.value.hex()}"
        )
        return f"{body}.{_check(body)}"


def commitment_of(secret: Secret) -> bytes:
    """Return 16 bytes that name a secret without telling anything of one that is random."""
    digest = hmac.digest(secret.reveal(), _COMMITMENT_LABEL, "sha256")
    return digest[:COMMITMENT_BYTES]


def split(
    secret: Secret,
    *,
    threshold: int = THRESHOLD,
    shares: int = SHARES,
    entropy: Entropy = system_entropy,
) -> list[Share]:
    """Return shares of a secret, any `threshold` of which combine to it."""
    assert 2 <= threshold <= shares <= SHARES_MAX
    plain = secret.reveal()
    noise = entropy(len(plain) * (threshold - 1))
    rows = [
        (plain[n], *noise[n * (threshold - 1) : (n + 1) * (threshold - 1)])
        for n in range(len(plain))
    ]
    commitment = commitment_of(secret)
    return [
        Share(x, bytes(_at(row, x) for row in rows), threshold, commitment)
        for x in range(1, shares + 1)
    ]


def combine(shares: Sequence[Share]) -> Secret:
    """Return the secret of shares in any order; raises Refused when they are too few or do not fit."""
    distinct = {share.index: share for share in shares}
    if len({(s.commitment, s.threshold, len(s.value)) for s in shares}) > 1:
        raise Refused(
            "SHARES_MIXED",
            "the shares come from different ceremonies",
            hint="Compare the text between the first two dots: it is the same on shares of one set.",
        )
    if not shares or len(distinct) < shares[0].threshold:
        wanted = shares[0].threshold if shares else THRESHOLD
        raise Refused(
            "SHARES_TOO_FEW",
            f"{len(distinct)} different shares were given, {wanted} are needed",
            hint="Ask another custodian; the same share twice counts once.",
        )
    given = list(distinct.values())
    secret = Secret(interpolated([(s.index, s.value) for s in given[: given[0].threshold]]))
    agree = all(
        interpolated([(s.index, s.value) for s in (extra, *given[1 : extra.threshold])])
        == secret.reveal()
        for extra in given[given[0].threshold :]
    )
    if not agree or not hmac.compare_digest(commitment_of(secret), given[0].commitment):
        raise Refused(
            "SHARES_WRONG",
            "these shares do not give the secret that they were made from",
            hint="One of them was altered: try with other custodians' shares to find out which.",
        )
    return secret


def interpolated(points: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the polynomials' values at 0 through the points (Lagrange)."""
    result = bytes(len(points[0][1]))
    for x, value in points:
        factor = 1
        for other, _ in points:
            if other != x:
                factor = multiply(factor, divide(other, other ^ x))
        result = bytes(r ^ multiply(v, factor) for r, v in zip(result, value, strict=True))
    return result


def read_share(line: str) -> Share:
    """Return the share of a line of text; raises Unreadable saying what is wrong, not what it holds."""
    text = "".join(line.split()).lower()
    found = _FORM.fullmatch(text)
    if found is None:
        raise Unreadable(
            "key share",
            "the line is no share",
            hint="It begins with usance-share-1 and has six parts with dots between.",
        )
    if not hmac.compare_digest(_check(text.rpartition(".")[0]), found["check"]):
        raise Unreadable(
            "key share", "its check does not fit", hint="A character was misread: compare it again."
        )
    share = Share(
        int(found["index"]),
        bytes.fromhex(found["value"]),
        int(found["threshold"]),
        bytes.fromhex(found["set"]),
    )
    if not (1 <= share.index <= SHARES_MAX and 2 <= share.threshold <= SHARES_MAX):
        raise Unreadable("key share", "index or threshold is out of range")
    return share


def _at(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = multiply(value, x) ^ coefficient
    return value


def _check(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_CHECK_DIGITS]
