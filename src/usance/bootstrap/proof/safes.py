"""The safe for anchors, tiles and packs: a folder, or a bucket that locks what is put there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from usance.adapters.proof_files import FolderSafe
from usance.audit.ports import WormStore
from usance.config import Settings
from usance.kernel.clock import Clock
from usance.kernel.errors import Refused, Unreadable

EXAMPLE = "s3:albion-proofs/book?region=eu-west-1"


def open_safe(folder: Path, settings: Settings, clock: Clock) -> WormStore:
    """Return the safe; `folder` is where it is, where it is one.

    Raises Refused where it is not said how long a bucket keeps things, Unreadable for an address that cannot be
    meant.
    """
    said = settings.proof
    if not said.safe:
        return FolderSafe(folder)
    where, _, query = said.safe.removeprefix("s3:").partition("?")
    bucket, _, prefix = where.partition("/")
    asked = parse_qs(query)
    if set(asked) - {"region", "endpoint"}:
        raise Unreadable(
            "settings", f"proof.safe, {said.safe}, names no safe", hint=f"Such as {EXAMPLE}"
        )
    if not said.safe_days:
        raise Refused(
            "SAFE_DAYS_MISSING",
            "it is not said for how many days the bucket keeps what is put there",
            hint="Set proof.safe_days, such as 3653 for ten years: nobody can shorten it afterwards.",
        )
    from usance.adapters.safe_s3 import BucketSettings, S3Safe

    region, endpoint = ((asked.get(name) or [""])[0] for name in ("region", "endpoint"))
    place = BucketSettings(
        bucket, prefix.strip("/"), region or "us-east-1", endpoint, said.safe_days
    )
    return S3Safe(place, clock)


def existing_safe(folder: Path, settings: Settings, clock: Clock) -> WormStore | None:
    """Return the safe, None where it is a folder that nobody has made."""
    return open_safe(folder, settings, clock) if settings.proof.safe or folder.exists() else None
