"""Handing over an audit pack: the event is in the log, and its head is signed, before a byte is given away.

Order: the manifest is made and signed; `PackExported` names it; the log answers; a signed and cosigned head
covers that event; the pack is put together, verified by its own `verify.py`, and only then handed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from usance.audit.codes import Detected
from usance.audit.merkle import consistency_proof, inclusion_proof
from usance.audit.note import Checkpoint, b64, parse_note
from usance.audit.pack import PACK_BYTES_MAX, Stored, finished
from usance.audit.pack_proofs import Refused as NotVerified
from usance.audit.pack_records import line_of, prefixed, tell
from usance.audit.pack_verify import judge
from usance.audit.proof import SUFFIX, Proof, demand_quorum
from usance.bootstrap.accessing import REFUSALS, Look
from usance.bootstrap.packs.auditing import Evidence
from usance.bootstrap.packs.pack_scope import Request
from usance.bootstrap.packs.packing import Found, Gathered, Packer
from usance.domain.export import REVEALERS, ExportPack, reference_of
from usance.engine.proof.notary import sign
from usance.engine.proof.sealing import folder_of
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import Clock
from usance.kernel.decider import Actor, key_of
from usance.kernel.errors import Refused, Unavailable
from usance.kernel.ids import RandomIds
from usance.kernel.words import Words
from usance.messages.outcome import Outcome, Receipt

HEAD_WITHIN_S = 15.0
LOOK_S = 0.02
LOOK_BACK = 8
"""Offsets at the end of a partition among which its last record is: markers take some on a cluster."""

Ask = Callable[[Outgoing], Outcome]


class Pack(NamedTuple):
    """A pack that may be handed over: its bytes, its reference, its fingerprint for the covering letter."""

    data: bytes
    reference: str
    fingerprint: str
    verifier: str
    records: int
    known_at: int


def make_pack(
    evidence: Evidence,
    viewer: Actor,
    names: Mapping[str, str],
    request: Request,
    ask: Ask,
    *,
    hurry: Callable[[], object] = lambda: None,
) -> Pack:
    """Return a pack; its hand-over is recorded. `ask` sends a command, `hurry` lets the notary work.

    Raises Refused where the person may not, NotFound for nothing, Unavailable where the hand-over cannot be
    recorded or is not sealed in time, Detected where the log is not what was sealed.
    """
    if request.reveal and viewer.role not in REVEALERS:
        tenant, now = evidence.store.settings.bank.tenant, evidence.clock.now()
        look = Look("ExportPack", request.told)
        REFUSALS.record(ask, tenant, viewer, look, "REVEAL_DENIED", "", now)
        raise Refused(
            "REVEAL_DENIED",
            f"private parts are revealed to: {', '.join(sorted(REVEALERS))}",
            hint="Leave --reveal out: what is sealed is proven in the pack, and stays sealed.",
        )
    packer = Packer(evidence, viewer, names)
    key = evidence.signer()
    _await_present(packer, request, evidence.clock, hurry)
    gathered = packer.gather(request)
    if sum(len(data) for data in gathered.draft.files.values()) > PACK_BYTES_MAX:
        raise Refused(
            "PACK_TOO_LARGE",
            "this is more than one pack can hold (4 GB)",
            hint="Ask for less, or export the tree itself: --out FOLDER.",
        )
    origin = f"{evidence.origins.base}/packs"
    note = sign(f"{origin}\n{b64(gathered.draft.hashed)}\n", origin, key)
    receipt = _record(packer, gathered, request, ask)
    raw, top, heads = _await_sealed(packer, receipt, evidence.clock, hurry)
    sealed = _sealed(packer, gathered, receipt, raw, top, heads)
    data = b"".join(finished(gathered.draft, note, sealed))
    fingerprint = _fingerprint(packer)
    try:
        found = judge(memoryview(data), fingerprint)
    except NotVerified as wrong:
        raise Detected("PACK_ALTERED", f"the pack does not verify: {wrong}") from wrong
    return Pack(
        data,
        reference_of(gathered.draft.hashed),
        fingerprint,
        found["verifier"],
        gathered.records,
        gathered.known_at,
    )


def sealing_on(runtime: Any) -> Callable[[], object]:
    """Return what lets the notary of this process go on at once; without one the owner's is waited for."""

    def hurry() -> None:
        runtime.drive()
        if runtime.desk is None and runtime.sealing is not None:
            runtime.sealing.notary.finish()
            runtime.drive()

    return (lambda: None) if runtime is None else hurry


def _fingerprint(packer: Packer) -> str:
    return b64(sha256(packer.policy.text().encode()).digest())


def _record(packer: Packer, gathered: Gathered, request: Request, ask: Ask) -> Receipt:
    """Record the hand-over; returns where the log says that it is."""
    hashed = gathered.draft.hashed
    reference, bank = reference_of(hashed), packer.store.settings.bank
    command = ExportPack(
        pack=reference,
        manifest=hashed,
        verifier=_script(gathered),
        scope=request.told,
        as_of=request.as_of,
        known_at=gathered.known_at,
        records=gathered.records,
        revealed=gathered.revealed,
        case=request.case,
        indexes=gathered.indexes,
        reason=Words(subject=reference, text=request.reason) if request.reason else None,
    )
    command_id = RandomIds().fresh()
    key = key_of(bank.tenant, "export", reference)
    outcome = ask(
        Outgoing(key, command, command_id, f"export:{command_id}", command_id, packer.viewer)
    )
    if outcome.answer != "accepted" or not outcome.receipts:
        raise Refused(
            outcome.code or outcome.answer.upper(),
            outcome.message or f"the hand-over was {outcome.answer}",
            hint=outcome.hint or "Nothing was handed over.",
        )
    return outcome.receipts[0]


def _script(gathered: Gathered) -> bytes:
    return sha256(gathered.draft.files["verify.py"]).digest()


# -- waiting for the notary


def _await_present(
    packer: Packer, request: Request, clock: Clock, hurry: Callable[[], object]
) -> None:
    """Wait until what is in the log now is sealed, so that a pack of now holds it.

    Of a pack as of an earlier head only the registry counts: it holds the schema of the hand-over itself.
    """
    topics, log = packer.store.topics, packer.store.log
    places = [topics.at("system", "schemas", 0)]
    if request.known_at == -1:
        numbers = range(topics.partitions)
        kinds = [(c, k) for c in ("trade", "compliance") for k in ("events", "outcomes")]
        places += [topics.at(context, kind, n) for context, kind in kinds for n in numbers]
    due: dict[str, int] = {}
    for place, end in log.ends(places).items():
        last = deque(log.scan(place, max(log.begin(place), end - LOOK_BACK), end), maxlen=1)
        if last:
            due[folder_of(place)] = packer.store.closed.meta(last[0].headers).index + 1

    def seen() -> bool:
        _, top = packer.top()
        heads = packer.heads(top.size, top.size)
        return all(f in heads and heads[f].size >= size for f, size in due.items())

    _until(seen, clock, hurry, "what is in the log now is not sealed yet")


def _until(
    done: Callable[[], object], clock: Clock, hurry: Callable[[], object], trouble: str
) -> None:
    deadline = clock.monotonic() + HEAD_WITHIN_S
    while not done():
        if clock.monotonic() > deadline:
            raise Unavailable(trouble, hint="Is the notary at work? `usance audit head` shows.")
        hurry()
        clock.sleep(LOOK_S)


def _await_sealed(
    packer: Packer, receipt: Receipt, clock: Clock, hurry: Callable[[], object]
) -> tuple[bytes, Checkpoint, dict[str, Found]]:
    """Wait for a cosigned head that covers the hand-over; returns it with the heads below it."""
    place = packer.store.topics.at("system", "events", receipt.partition)
    folder, found = folder_of(place), list[tuple[bytes, Checkpoint, dict[str, Found]]]()

    def sealed() -> bool:
        raw, top = packer.top()
        heads = packer.heads(top.size, top.size)
        if folder not in heads or heads[folder].size <= receipt.index:
            return False
        try:
            demand_quorum(raw, packer.policy, packer.origins.heads)
        except Detected:
            return False
        found.append((_known_signers(packer, raw), top, heads))
        return True

    _until(sealed, clock, hurry, "the hand-over is recorded, and not sealed and witnessed yet")
    return found[0]


def _known_signers(packer: Packer, raw: bytes) -> bytes:
    """Return a head with the signatures alone of those whom the pack's policy names."""
    note, policy = parse_note(raw), packer.policy
    known = {
        (v.name, v.key_id) for v in (policy.log(packer.origins.heads), *policy.witnesses.values())
    }
    return note._replace(
        signatures=tuple(s for s in note.signatures if (s.name, s.key_id) in known)
    ).raw()


# -- what proves the rest


def _sealed(
    packer: Packer,
    gathered: Gathered,
    receipt: Receipt,
    raw: bytes,
    top: Checkpoint,
    heads: Mapping[str, Found],
) -> dict[str, bytes]:
    """Return the files below `sealed/`."""
    tree = packer.tree(packer.heads_folder, top.size)

    def logged(at: int) -> bytes:
        return Proof(at, tuple(inclusion_proof(at, top.size, tree.node)), raw).raw()

    def since(size: int) -> bytes:
        return "".join(b64(h) + "\n" for h in consistency_proof(size, top.size, tree.node)).encode()

    place = packer.store.topics.at("system", "events", receipt.partition)
    folder = folder_of(place)
    head = heads[folder]
    events = packer.tree(folder, head.size)
    offset = int.from_bytes(events.entry(receipt.index)[8:16], "big")
    stored = Stored.of(next(iter(packer.store.log.scan(place, offset, offset + 1, 1))))
    told = tell(folder, stored.offset, stored.log_time, stored.envelope, packer.schemas)
    if told.hashed != receipt.envelope_hash or events.entry(receipt.index) != told.leaf:
        raise Detected("RECEIPT_UNMET", "the hand-over is not as it was promised", where=folder)
    path = tuple(inclusion_proof(receipt.index, head.size, events.node))
    return {
        "heads.checkpoint": raw,
        "known-at.consistency": since(gathered.known_at),
        "export.bin": prefixed([stored.envelope]),
        "export.jsonl": line_of(told.line) + b"\n",
        f"export{SUFFIX}": Proof(receipt.index, path, head.raw).raw(),
        f"export-head{SUFFIX}": logged(head.at),
        **{f"heads/{name}{SUFFIX}": logged(found.at) for name, found in gathered.heads.items()},
        **{f"anchors/{size:020d}.consistency": since(size) for size in gathered.anchors},
    }


def write_pack(pack: Pack, target: Path) -> None:
    """Write a pack as a whole or not at all; raises Refused where something is there, Unavailable."""
    if target.exists():
        raise Refused("PACK_EXISTS", f"{target} is there already", hint="Name another file.")
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(pack.data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Unavailable(
            f"{target} cannot be written: {error.strerror}", hint="Name another place with --out."
        ) from error
