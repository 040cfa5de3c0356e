"""What `doctor` says of proving: the signing key, the safe, and how old heads, anchors and verification are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from usance.adapters.proof_files import FolderTiles
from usance.audit.codes import Detected
from usance.audit.note import Verifier, open_checkpoint
from usance.audit.proof import Policy, demand_quorum
from usance.audit.tiles import CHECKPOINT
from usance.bootstrap.proof.proof_serving import ProofDesk
from usance.bootstrap.proof.proving import Places, places_of, read_policy
from usance.bootstrap.proof.safes import open_safe
from usance.bootstrap.proof.signing import open_signer
from usance.bootstrap.store import Store
from usance.config import Settings
from usance.engine.findings import Finding, held, ok
from usance.engine.proof.attesting import ANCHORS, HEAD
from usance.engine.proof.sealing import HEADS, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import MS_PER_SECOND, Clock, SystemClock, iso
from usance.kernel.errors import Tampered, UsanceError
from usance.log.contract import TopicPartition

HEAD_MS_MAX = 60_000
"""How long a record may wait for its head: the notary signs within a second while it runs."""
SCRUB_DAYS_MAX = 35
"""How old the last kept verification may be."""
LOOK_BACK = 8
WITNESSES_WITHIN_S = 5.0
LOOK_S = 0.05


def examine(store: Store, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Look at key, safe, heads and anchors without changing them; little where no notary has run."""
    places = places_of(store.folder, settings)
    data = store.folder.root
    if settings.proof.safe or (settings.proof.enabled and places.policy.exists()):
        yield _told(
            "SAFE",
            "safe",
            lambda: open_safe(places.anchors, settings, SystemClock()).examine(),
            "usance audit safe --probe",
        )
    if not settings.proof.enabled:
        yield Finding(
            "heads",
            "PROOF_OFF",
            "warning",
            "notary",
            "off: nothing is sealed, and nothing can be proven to a stranger",
            "export USANCE_PROOF_ENABLED=true",
        )
        return
    start = f"usance start --data {data}"
    if settings.bootstrap_servers:
        start = "usance start --role notary"
    if not places.policy.exists():
        yield Finding("heads", "NO_HEAD", "wrong", "newest head", "none was signed yet", start)
        return
    key = str(places.key)
    restore = f"mv BACKUP/{places.key.name} {key}"
    yield _told("SIGNING_KEY", "signing key", lambda: _key(places, settings), restore)
    yield _told("HEAD", "newest head", lambda: _head(places), f"usance audit verify --data {data}")
    yield from _ages(store, settings, clock, start)


def _ages(store: Store, settings: Settings, clock: Clock, start: str) -> Iterator[Finding]:
    desk = ProofDesk(store, store.folder, settings, lambda: None)
    standing = desk.standing(compliance=True)
    sizes = {tree.folder: tree.size for tree in standing.trees}
    waiting, oldest = 0, 0
    for place in chained(store.log):
        count, at = _last(store, place)
        unsealed = count - sizes.get(folder_of(place), 0)
        if unsealed > 0:
            waiting += unsealed
            oldest = max(oldest, clock.now() - at)
    late = oldest > HEAD_MS_MAX
    said = f"{waiting:,} records wait for one, for {oldest // MS_PER_SECOND:,} s at the least"
    yield held(
        "heads",
        "HEAD_OLD",
        "age of heads",
        said if waiting else "every record is under a signed head",
        well=not late,
        command=start,
    )
    yield _anchored(desk, settings, start)
    data = store.folder.root
    scrubbed = standing.scrubbed
    days = (SystemClock().now() // MS_PER_SECOND - scrubbed.at) // 86_400 if scrubbed else -1
    yield held(
        "heads",
        "SCRUB_OLD",
        "last kept verification",
        f"{days} days ago" if scrubbed else "none yet",
        well=scrubbed is not None and days <= SCRUB_DAYS_MAX,
        command=f"usance audit scrub --data {data}",
        severity="warning",
    )


def _anchored(desk: ProofDesk, settings: Settings, start: str) -> Finding:
    """Compare the newest head in the safe with the newest one: both name when their witnesses saw them."""
    policy = read_policy(desk.places.policy)
    kept = [n for n in desk.safe.names(f"{ANCHORS}/") if n.endswith(HEAD)]
    if not kept:
        return Finding("heads", "ANCHOR_OLD", "warning", "anchors", "none is kept yet", start)
    try:
        head = max(_attested(desk.places, policy)[1].values(), default=0)
        anchor = _seen(desk.safe.read(kept[-1]), policy)
    except Tampered as broken:
        command = "usance audit verify --full"
        return Finding("heads", "ANCHOR", "tampered", "anchors", broken.message, command)
    late = head - anchor > 2 * settings.proof.anchor_every
    said = f"{len(kept)} kept" + (
        f", the newest of {iso(anchor * MS_PER_SECOND)}" if anchor else ""
    )
    return held(
        "heads", "ANCHOR_OLD", "anchors", said, well=not late, command=start, severity="warning"
    )


def _seen(raw: bytes, policy: Policy) -> int:
    """Return when (s UTC) the last witness cosigned a head, 0 where none did."""
    origin = _log(policy).name
    return max(demand_quorum(raw, policy, origin).values(), default=0)


def _last(store: Store, place: TopicPartition) -> tuple[int, int]:
    """Return how many leaves a partition has, and when its last record was appended."""
    end, begin = store.log.end(place), store.log.begin(place)
    found = (0, 0)
    for record in store.log.scan(place, max(begin, end - LOOK_BACK), end):
        found = store.closed.meta(record.headers).index + 1, record.timestamp
    return found


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


def _attested(places: Places, policy: Policy) -> tuple[bytes, dict[str, int]]:
    """Return the newest head with the instants of its cosigners; raises Detected.

    A head is published before its witnesses have answered: that is waited for, a little.
    """
    clock = SystemClock()
    end = clock.monotonic() + WITNESSES_WITHIN_S
    while True:
        try:
            raw = FolderTiles(places.tiles).read(f"{HEADS}/{CHECKPOINT}")
        except FileNotFoundError:
            raise Detected("ROLLBACK", "keys are pinned, and no head is there") from None
        try:
            return raw, demand_quorum(raw, policy, _log(policy).name)
        except Detected as found:
            if found.code != "WITNESS_REFUSED" or clock.monotonic() > end:
                raise
        clock.sleep(LOOK_S)


def _head(places: Places) -> str:
    policy = read_policy(places.policy)
    raw, times = _attested(places, policy)
    head = open_checkpoint(raw, _log(policy), tuple(policy.witnesses.values()))
    at = f", cosigned {iso(max(times.values()) * MS_PER_SECOND)}" if times else ""
    return f"{head.size:,} heads{at}"


def _told(code: str, check: str, look: Callable[[], str], command: str) -> Finding:
    try:
        return ok("heads", code, check, look())
    except UsanceError as error:
        severity = "tampered" if isinstance(error, Tampered) else "wrong"
        return Finding("heads", code, severity, check, error.message, command, error.hint)
