"""What `doctor` says of proving: the signing key, the safe, and the newest head."""

from __future__ import annotations

from collections.abc import Iterator

from usance.adapters.proof_files import FolderTiles
from usance.audit.codes import Detected
from usance.audit.note import Verifier, open_checkpoint
from usance.audit.proof import Policy, demand_quorum
from usance.audit.tiles import CHECKPOINT
from usance.bootstrap.proving import Places, places_of, read_policy
from usance.bootstrap.safes import open_safe
from usance.bootstrap.signing import open_signer
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.engine.sealing import HEADS
from usance.kernel.clock import MS_PER_SECOND, SystemClock, iso
from usance.kernel.errors import Tampered, UsanceError

Look = tuple[str, bool, str, str, bool]
"""Check, whether it is well, what was found, what to do, whether somebody tampered with it."""


def examine(folder: Folder, settings: Settings) -> Iterator[Look]:
    """Look at key, safe and newest head without changing them; nothing where no notary has run."""
    places = places_of(folder, settings)
    if settings.proof.safe:
        yield _told("safe", lambda: open_safe(places.anchors, settings, SystemClock()).examine())
    if not settings.proof.enabled or not places.policy.exists():
        return
    if not settings.proof.safe:
        yield "safe", True, open_safe(places.anchors, settings, SystemClock()).examine(), "", False
    yield _told("signing key", lambda: _key(places, settings))
    yield _told("newest head", lambda: _head(places))


def _log(policy: Policy) -> Verifier:
    return next(key for name, key in policy.logs.items() if name.endswith(f"/{HEADS}"))


def _key(places: Places, settings: Settings) -> str:
    signer = open_signer(places.key, settings)
    try:
        if signer.public != _log(read_policy(places.policy)).public:
            raise Detected("UNKNOWN_KEY", "the signing key is not the one that is pinned")
    finally:
        signer.close()
    return "in a token" if settings.proof.signer else f"in the file {places.key.name}"


def _head(places: Places) -> str:
    policy = read_policy(places.policy)
    try:
        raw = FolderTiles(places.tiles).read(f"{HEADS}/{CHECKPOINT}")
    except FileNotFoundError:
        raise Detected("ROLLBACK", "keys are pinned, and no head is there") from None
    head = open_checkpoint(raw, _log(policy), tuple(policy.witnesses.values()))
    times = demand_quorum(raw, policy, head.origin)
    at = f", cosigned {iso(max(times.values()) * MS_PER_SECOND)}" if times else ""
    return f"{head.size:,} heads{at}"


def _told(check: str, look: object) -> Look:
    try:
        assert callable(look)
        return check, True, str(look()), "", False
    except UsanceError as error:
        return check, False, error.message, error.hint, isinstance(error, Tampered)
