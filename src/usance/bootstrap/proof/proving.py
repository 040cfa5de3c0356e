"""Sealing a log: the notary and what attests its heads, made of the settings."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from usance.adapters.head_store import SqliteHeads, SqliteSeen
from usance.adapters.proof_files import FolderTiles, make_key
from usance.adapters.witnesses import HttpWitness, OwnWitness, WitnessServer
from usance.audit.codes import Detected
from usance.audit.note import COSIGNATURE, Verifier, demand_name, parse_vkey
from usance.audit.ports import HeadStore, Signer, TimeAuthority, Witness
from usance.audit.proof import Policy, parse_policy
from usance.audit.witness import WitnessDesk
from usance.bootstrap.proof.safes import open_safe
from usance.bootstrap.proof.signing import open_signer
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.engine import genesis as birth
from usance.engine.genesis import Genesis
from usance.engine.proof.attesting import Attestor
from usance.engine.proof.following import Follower, GroupFollower, ScanFollower
from usance.engine.proof.log_heads import LogHeads
from usance.engine.proof.notary import Notary
from usance.engine.proof.receipts import ReceiptsMonitor
from usance.engine.proof.sealing import HEADS, Origins
from usance.engine.verify import chained
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Unavailable, Unreadable
from usance.log.contract import Log

GENERATION_LETTERS = 8
OWN = "own"
"""Our own witness, in a policy."""


class Places(NamedTuple):
    """Where a log's proof is. `heads` belongs on another disk than `tiles`, `anchors` in a safe."""

    tiles: Path
    heads: Path
    anchors: Path
    key: Path
    witness: Path

    @property
    def last(self) -> Path:
        """The database of last heads."""
        return self.heads / "last.sqlite"

    @property
    def policy(self) -> Path:
        """The keys that were pinned when the notary first ran: what `audit verify` trusts."""
        return self.heads / "policy.txt"

    @property
    def seen(self) -> Path:
        """What our own witness has seen last."""
        return self.witness / "seen.sqlite"


class Sealing(NamedTuple):
    """The parts that seal a log."""

    notary: Notary
    attestor: Attestor
    receipts: ReceiptsMonitor
    origins: Origins
    places: Places
    closing: tuple[HeadStore | SqliteSeen | Signer, ...]

    def close(self) -> None:
        """Seal, attest and anchor what is left, then release the files."""
        try:
            if self.notary.is_open:
                self.notary.finish()
                self.attestor.close()
            self.notary.close()
        finally:
            self.release()

    def release(self) -> None:
        """Release the files; what is not sealed is sealed after the next start."""
        for database in self.closing:
            database.close()


def places_of(folder: Folder, settings: Settings) -> Places:
    """Return where a data folder's proof is."""
    root, said = folder.root, settings.proof
    return Places(
        Path(said.tiles) if said.tiles else root / "proof",
        Path(said.heads) if said.heads else root / "heads",
        Path(said.anchors) if said.anchors else root / "anchors",
        Path(said.key_file) if said.key_file else root / "notary.key",
        root / "witness",
    )


def origins_of(genesis: Genesis, settings: Settings) -> Origins:
    """Return the names of a log's trees; another log has others, whatever its settings say."""
    generation = genesis.log_id.replace("-", "")[:GENERATION_LETTERS]
    return Origins(settings.proof.domain, settings.proof.env, generation)


LATER = ("signer", "signer_secret_file", "safe", "safe_days")
"""Settings that came after the first digests were sealed: where they say nothing, they count for nothing."""


def digest_of(settings: Settings) -> bytes:
    """Return the digest of the settings that proving runs under."""
    said = msgspec.to_builtins(settings.proof)
    kept = {name: value for name, value in said.items() if value or name not in LATER}
    return sha256(msgspec.json.encode(kept, order="sorted")).digest()


def birth_digest(log: Log, namespace: str) -> bytes:
    """Return the SHA-256 of the genesis record as it is stored: every start of the notary seals it."""
    return sha256(birth.raw(log, namespace) or b"").digest()


def make_sealing(store: Store, settings: Settings, clock: Clock) -> Sealing:
    """Return notary and attestor of a log; makes the key (0600) where there is none.

    Raises Detected(UNKNOWN_KEY) where the key is not the one that was pinned when the notary first ran.
    """
    places = places_of(store.folder, settings)
    origins = origins_of(store.genesis, settings)
    tiles, key = FolderTiles(places.tiles), open_signer(places.key, settings, make=True)
    heads = _last_heads(store, places, settings, key)
    seen = _own_seen(places, settings)
    witnesses = _witnesses(places, settings, origins, key, seen, clock)
    pin_policy(places, trusted(origins, store.log, key, settings, _keys(witnesses)))
    log = store.log
    follower: Follower = GroupFollower(log) if settings.bootstrap_servers else ScanFollower(log)
    notary = Notary(
        log,
        follower,
        origins,
        store.genesis.log_id,
        tiles,
        heads,
        key,
        clock,
        diagnose=lambda record: store.closed.meta(record.headers),
        settings=digest_of(settings),
        genesis=birth_digest(log, settings.namespace),
    )
    attestor = Attestor(
        notary.board,
        tiles,
        origins,
        Verifier(origins.heads, key.public),
        clock,
        witnesses=witnesses,
        authority=_authority(settings),
        safe=open_safe(places.anchors, settings, clock),
        anchor_every_s=settings.proof.anchor_every,
        active=lambda: notary.is_open,
    )
    notary.check = attestor.check
    closing = (heads, key, seen) if seen is not None else (heads, key)
    receipts = ReceiptsMonitor(log, store.topics, store.closed, tiles, clock)
    return Sealing(notary, attestor, receipts, origins, places, closing)


def _last_heads(store: Store, places: Places, settings: Settings, key: Signer) -> HeadStore:
    """Return where last heads are: on a cluster in the log too, for notaries on other machines."""
    own = SqliteHeads(places.last)
    if not settings.bootstrap_servers:
        return own
    return LogHeads(store.log, store.topics.at("system", "heads", 0), own, key.public)


def _authority(settings: Settings) -> TimeAuthority | None:
    if not settings.proof.time_url:
        return None
    from usance.adapters.time_stamps import HttpTimeAuthority

    return HttpTimeAuthority(settings.proof.time_url, Path(settings.proof.time_ca_file))


# -- who is trusted


def trusted(
    origins: Origins, log: Log, key: Signer, settings: Settings, own: Sequence[Verifier]
) -> Policy:
    """Return the policy of a log: its key under the name of each tree, its witnesses, their quorum."""
    names = [origins.heads, *(origins.of(place) for place in chained(log))]
    logs = {name: Verifier(name, key.public) for name in names}
    if settings.proof.witnesses:
        said = read_policy(Path(settings.proof.witnesses))
        return Policy(logs, said.witnesses, said.groups, said.quorum)
    witnesses = {OWN: own[0]} if own else {}
    return Policy(logs, witnesses, {}, OWN if witnesses else "none")


def read_policy(path: Path) -> Policy:
    """Return the policy of a file; raises Unavailable, Unreadable."""
    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unavailable(
            f"the policy {path} cannot be read: {error.strerror}",
            hint="Name another with --policy.",
        ) from error
    except (UnicodeDecodeError, Detected) as error:
        raise Unreadable("policy", f"{path}: {error}", hint="Correct it.") from error


def pin_policy(places: Places, policy: Policy) -> None:
    """Keep the keys that were in use when a log was first sealed; raises Detected where they have changed.

    Trees that came later are added. A key is changed by a person, who moves the pinned policy away.
    """
    pinned = read_policy(places.policy) if places.policy.exists() else None
    for name, key in policy.logs.items():
        known = pinned.logs.get(name) if pinned else None
        if known is not None and known != key:
            raise Detected(
                "UNKNOWN_KEY",
                f"the signing key is not the one that is pinned for {name}",
                where=str(places.policy),
                hint="Bring the key back. If it was changed on purpose, move the pinned policy away.",
            )
    whole = Policy(
        {**(pinned.logs if pinned else {}), **policy.logs},
        policy.witnesses,
        policy.groups,
        policy.quorum,
    )
    if pinned is None or pinned._replace(urls=None) != whole:
        FolderTiles(places.heads).publish(places.policy.name, whole.text().encode())


def _own_seen(places: Places, settings: Settings) -> SqliteSeen | None:
    said = settings.proof
    return SqliteSeen(places.seen) if said.own_witness and not said.witnesses else None


def _witnesses(
    places: Places,
    settings: Settings,
    origins: Origins,
    key: Signer,
    seen: SqliteSeen | None,
    clock: Clock,
) -> list[Witness]:
    if seen is not None:
        name = f"{settings.proof.domain}/witness"
        logs = {origins.heads: Verifier(origins.heads, key.public)}
        desk = WitnessDesk(name, make_key(places.witness / "witness.key"), logs, seen)
        return [OwnWitness(desk, clock)]
    if not settings.proof.witnesses:
        return []
    policy = read_policy(Path(settings.proof.witnesses))
    urls = policy.urls or {}
    return [HttpWitness(v, urls[name]) for name, v in policy.witnesses.items() if name in urls]


def _keys(witnesses: Iterable[Witness]) -> list[Verifier]:
    return [
        Verifier(w.name, w.desk.key.public, COSIGNATURE)
        for w in witnesses
        if isinstance(w, OwnWitness)
    ]


def run_witness(
    logs: Sequence[str],
    name: str,
    state: Path | None,
    port: int,
    folder: Folder,
    settings: Settings,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Serve a witness on loopback until a signal comes; `logs` are vkeys, the folder's own without any."""
    found = {key.name: key for key in map(parse_vkey, logs)}
    if not found:
        pinned = read_policy(places_of(folder, settings).policy)
        found = {n: key for n, key in pinned.logs.items() if n.endswith(f"/{HEADS}")}
    root = state or folder.root / "witness-server"
    seen = SqliteSeen(root / "seen.sqlite")
    try:
        desk = WitnessDesk(demand_name(name), make_key(root / "witness.key"), found, seen)
        server = WitnessServer(desk, SystemClock(), "127.0.0.1", port)
        tell({"url": f"http://127.0.0.1:{server.port}/", "vkey": desk.vkey, "logs": sorted(found)})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.close).start())
        server.serve()
    finally:
        seen.close()
