"""A key as a value that does not give itself away.

Python cannot promise to wipe memory: bytes are copied by slicing, by libraries and by the garbage
collector. What is promised here is less and holds: a `Secret` has no readable repr or str, is never
pickled or copied into another process, compares in constant time, and overwrites its own copy in
`wipe`. The better answers are an HSM for the upper keys and a short life for the lower ones.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

KEY_BYTES = 32
"""Length of every symmetric key of the product: 256 bits."""


class Secret:
    """Key material; `reveal` hands it to the cipher that is about to use it."""

    __slots__ = ("_bytes",)

    def __init__(self, material: bytes | bytearray) -> None:
        assert material, "a secret has at least one byte"
        self._bytes = bytearray(material)

    def reveal(self) -> bytes:
        """Return the bytes. Call it where they are used, and keep no name for the result."""
        assert self._bytes, "a wiped secret is used no more"
        return bytes(self._bytes)

    def wipe(self) -> None:
        """Overwrite this copy; whatever `reveal` returned before lives on until it is collected."""
        for place in range(len(self._bytes)):
            self._bytes[place] = 0
        self._bytes.clear()

    def __len__(self) -> int:
        """Return the number of bytes, 0 once wiped."""
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        return isinstance(other, Secret) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the length alone."""
        return f"Secret({len(self._bytes)} bytes)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        """Refuse every copy."""
        raise TypeError("a Secret is neither pickled nor copied")
