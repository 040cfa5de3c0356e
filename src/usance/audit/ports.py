"""What proving needs from outside: places for tiles and last heads, keys, witnesses, clocks, safes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from usance.audit.note import Signature


class LastHead(NamedTuple):
    """The last head of one tree, and from where its writer goes on.

    `offset` is the next offset to read, `tail` the chain behind the last leaf, `log_time` its append
    time (ms UTC); `logged` is the size that the head log holds of it.
    """

    origin: str
    size: int
    root: bytes
    offset: int = 0
    tail: bytes = b""
    log_time: int = 0
    logged: int = 0


class TileStore(Protocol):
    """Where a log's files are; paths are relative, such as `trade.events/p000/tile/0/000`."""

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files that never change; all are durable on return.

        Raises Detected(TILE_MISMATCH) where one is there with other bytes, Unavailable.
        """
        ...

    def publish(self, path: str, data: bytes) -> None:
        """Replace one file as a whole, durably."""
        ...

    def read(self, path: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""
        ...

    def drop(self, paths: Sequence[str]) -> None:
        """Remove partial files that a full one has replaced."""
        ...


class HeadStore(Protocol):
    """The last head of each tree, in a place apart from the tiles."""

    @property
    def shared(self) -> bool:
        """Tell whether notaries on other machines advance it too: their tiles may have to be made here."""
        ...

    def replay(self) -> Iterable[list[LastHead]]:
        """Give the new heads of each advance from the first; nothing where they are not kept."""
        ...

    def load(self) -> dict[str, LastHead]:
        """Return all last heads by origin."""
        ...

    def advance(self, moves: Sequence[tuple[LastHead | None, LastHead]]) -> None:
        """Replace heads by their successors, all or none, durably: compare-and-set.

        Raises Fenced where a head is no longer the one that was read.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Signer(Protocol):
    """A log's private key, wherever it is."""

    @property
    def public(self) -> bytes:
        """The 32 bytes of the Ed25519 public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature, the same for the same message; raises Unavailable."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Cosigned(NamedTuple):
    """A witness's answer: its signatures, or the size that it has seen (409: go on from there)."""

    signatures: tuple[Signature, ...] = ()
    size: int = -1


class Witness(Protocol):
    """One witness, by C2SP tlog-witness."""

    name: str

    def add_checkpoint(self, old: int, proof: Sequence[bytes], checkpoint: bytes) -> Cosigned:
        """Offer a head with the consistency proof from `old`.

        Raises Detected(WITNESS_REFUSED) where the witness says that history was rewritten or the key is not
        ours, Unavailable where it cannot be asked.
        """
        ...


class TimeAuthority(Protocol):
    """A trusted clock that signs (RFC 3161)."""

    def stamp(self, data: bytes) -> bytes:
        """Return a time-stamp response over data, verified; raises Unavailable or Detected(CLOCK_SKEW)."""
        ...


class Kept(NamedTuple):
    """What holds an object of a safe: mode (`COMPLIANCE`, empty for nothing) and end (ms UTC) of its retention.

    `versions` counts what was put under its name; `hidden`: a marker pretends that it was deleted.
    """

    name: str
    size: int
    mode: str = ""
    until: int = 0
    versions: int = 1
    hidden: bool = False


class Probe(NamedTuple):
    """One attack on a safe, and whether it refused."""

    attack: str
    refused: bool


class WormStore(Protocol):
    """A safe: what is put there can be neither changed nor removed."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep data under a name; the same data again is no error.

        Raises Detected(ANCHOR_MISMATCH) where other data is kept under it, Unavailable.
        """
        ...

    def names(self, prefix: str = "") -> list[str]:
        """Return all names that begin so, in order."""
        ...

    def read(self, name: str) -> bytes:
        """Return what was first kept under a name; raises FileNotFoundError."""
        ...

    def kept(self, prefix: str = "") -> Iterable[Kept]:
        """Give every name that begins so with what holds it."""
        ...

    def examine(self) -> str:
        """Return what it says of itself, in words; raises Unavailable where it holds nothing fast."""
        ...

    def probe(self) -> list[Probe]:
        """Attack a small object of its own, and tell which attacks were refused; raises Unavailable."""
        ...
