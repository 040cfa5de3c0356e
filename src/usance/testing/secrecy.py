"""A vault in memory, and a key service that can be taken down: for tests and measurements of sealed logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from usance.crypto.keyring import Keyring
from usance.crypto.keyservice import KeyService
from usance.crypto.keystore import KeyStore, MemoryKeys
from usance.crypto.secret import Secret
from usance.crypto.vault import Vault
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Unavailable


class Switched:
    """A key service that is down while `up` is false; counts the calls that reach it."""

    def __init__(self, inner: KeyService) -> None:
        self.inner = inner
        self.up = True
        self.calls: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the service, which fails while it is down."""
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.up:
                raise Unavailable(
                    "the key service does not answer", hint="It comes back by itself."
                )
            last = args[-1] if args else ()
            self.calls.append((name, len(last) if isinstance(last, Sequence) else 1))
            return method(*args, **kwargs)

        return call


def memory_vault(
    clock: Clock | None = None,
    store: KeyStore | None = None,
    service: KeyService | None = None,
    **more: Any,
) -> Vault:
    """Return a vault over a key service in memory."""
    clock = clock or SystemClock()
    secret = Secret(b"a log's own secret, in tests alone")
    return Vault(service or Keyring(clock), store or MemoryKeys(), clock, secret, **more)
