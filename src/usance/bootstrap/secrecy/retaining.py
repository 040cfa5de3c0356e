"""Retention: what of whom is kept until when, proposals to destroy what is over, and the documents about it.

A proposal goes the way of an erasure (`bootstrap.erasing`): two other people approve it, holds and clocks are
looked at again at each step and once more in the key store, keys are destroyed, a certificate is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from usance.audit.note import b64
from usance.bootstrap import clocks
from usance.bootstrap.clocks import Clock, day
from usance.bootstrap.desk import Desk
from usance.bootstrap.secrecy import erasing
from usance.bootstrap.store import Store
from usance.engine.history import Past
from usance.engine.proof.notary import sign
from usance.engine.secrecy import subjects as m
from usance.kernel.clock import iso
from usance.kernel.decider import Actor, key_parts
from usance.kernel.errors import NotFound, Refused
from usance.kernel.words import Words, text_of
from usance.messages.outcome import Outcome

PERSONAL = "relationship"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a data subject.

    `state`: active | due | held | restricted | proposed | approved | destroying | destroyed. `due` is when all of
    it is over (YYYY-MM-DD, empty while an instrument runs), `over` names the parts that are over already.
    """

    subject: str
    stream: str
    state: str
    retention: str
    started: str
    due: str
    streams: int
    why: str
    over: list[str]
    approvals: int
    held: bool
    holds: list[str]
    certificate: str
    certificates: list[str]
    letter: str


class Survey(NamedTuple):
    """One reading of the log, for as many subjects as are asked for."""

    blocks: list[tuple[str, str, str]]
    book: clocks.Book


def survey(store: Store) -> Survey:
    """Read what clocks and belongings are computed from."""
    return Survey(list(erasing.blocks_of(store)), clocks.read_book(store))


def subjects(seen: Survey) -> list[str]:
    """Return the data subjects that blocks of deals are sealed for: neither streams nor their identities."""
    streams = {stream for stream, _, _ in seen.blocks}
    own = streams | {key_parts(stream).identity for stream in streams}
    found = {
        owner
        for stream, owner, _ in seen.blocks
        if key_parts(stream).category in erasing.DEALS and owner not in own
    }
    return sorted(found)


def kept(store: Store, subject: str, now: int, seen: Survey | None = None) -> Kept:
    """Return what is kept of one data subject, and until when."""
    seen = seen or survey(store)
    found = erasing.belongings(store, subject, seen.blocks)
    parts = erasing.parts_of(store, found, seen.book)
    whole, over = _whole(parts), sorted(n for n, c in parts.items() if c.over(now))
    if store.vault is None:
        state, holds, key = m.SubjectState(), set[str](), ""
    else:
        tenant = store.settings.bank.tenant
        state, key = erasing.standing_of(store, subject), erasing.subject_key(store, subject)
        names = [store.vault.pseudonym(tenant, name) for name in found.subjects]
        kept = (h for name in names for h in store.vault.store.holds(tenant, name))
        holds = {*state.holds, *(h.id for h in kept)}
    return Kept(
        subject=subject,
        stream=key,
        state=_state(state, whole, now, held=bool(holds)),
        retention=parts[subject].retention if subject in parts else whole.retention,
        started=day(whole.started),
        due="" if whole.due == clocks.OPEN else day(whole.due),
        streams=len(found.streams),
        why="" if whole.over(now) else whole.why,
        over=over,
        approvals=len(state.approvers),
        held=bool(holds),
        holds=sorted(holds),
        certificate=state.certificate,
        certificates=list(state.parts),
        letter=state.letter,
    )


def listed(store: Store, now: int, *, state: str = "") -> list[Kept]:
    """Return every data subject with what is kept of them, those that are due first."""
    seen = survey(store)
    rows = [kept(store, subject, now, seen) for subject in subjects(seen)]
    rows = [row for row in rows if state in ("", row.state)]
    return sorted(rows, key=lambda row: (row.state != "due", row.due or "9999", row.subject))


def _whole(parts: dict[str, Clock]) -> Clock:
    running = next((c for c in parts.values() if c.due == clocks.OPEN), None)
    if running is not None:
        return running
    none = Clock(PERSONAL, 0, 0, "nothing is kept of them")
    return max(parts.values(), key=lambda c: c.due, default=none)


def _state(state: m.SubjectState, whole: Clock, now: int, *, held: bool) -> str:
    if state.phase == "erased":
        return "destroyed"
    if state.phase == "destroying":
        return "destroying"
    if held:
        return "held"
    if state.phase in ("requested", "approved"):
        return "proposed" if state.phase == "requested" else "approved"
    if whole.over(now):
        return "due"
    return "restricted" if state.phase == "restricted" else "active"


# -- acts


def propose(desk: Desk, subject: str, reason: str, actor: Actor, *, partial: bool) -> Outcome:
    """Propose to destroy what is over: all that belongs to a subject, or with `partial` what of it is.

    Raises Refused for a log in clear, and where `partial` finds nothing that is over.
    """
    store, now = desk.store, desk.clock.now()
    vault, tenant = erasing.demand_vault(store), store.settings.bank.tenant
    found = erasing.belongings(store, subject)
    parts = erasing.parts_of(store, found)
    chosen = {n: c for n, c in parts.items() if c.over(now) or not partial}
    if not chosen:
        raise Refused(
            "NOT_DUE",
            "nothing of it is over yet",
            hint=f"usance retention show {subject} tells when it is.",
        )
    command = m.ProposeDisposal(
        subjects=[vault.pseudonym(tenant, n) for n in chosen],
        clocks=[_stated(vault.pseudonym(tenant, n), c) for n, c in chosen.items()],
        partial=len(chosen) < len(parts),
        obliged=erasing.obligations(store, found, now, chosen),
        cooling_days=clocks.rules().cooling_off_days,
        reason=Words(text=reason),
    )
    return erasing.send(desk, erasing.subject_key(store, subject), command, actor)


def _stated(name: str, clock: Clock) -> m.RetentionClock:
    return m.RetentionClock(
        subject=name, retention=clock.retention, started=clock.started, due=max(0, clock.due)
    )


def withdraw(desk: Desk, subject: str, reason: str, actor: Actor) -> Outcome:
    """Take back what waits for approval or destruction."""
    command = m.WithdrawDisposal(reason=Words(text=reason))
    key = erasing.subject_key(desk.store, subject)
    return erasing.send(desk, key, command, actor)


# -- documents


def letter(store: Store, subject: str, bank: str) -> str:
    """Return the letter that tells why an erasure is refused for now, and when it will be possible.

    Raises NotFound where none was refused. It names nobody: whoever sends it knows the address.
    """
    event = _last(_past(store, subject), m.ErasureRestricted)
    if event is None:
        raise NotFound(
            "no erasure of this subject was refused",
            hint="usance subject erase SUBJECT --reason WHY asks for one.",
        )
    said: m.ErasureRestricted = event.message
    until = (
        f"We will be able to erase it from {day(said.until)} on. You need not ask again: your request"
        " is kept and comes up on that day."
        if said.until
        else "As long as an instrument runs we cannot name the day. Your request is kept."
    )
    grounds = "\n".join(f"  - {ground}" for ground in said.grounds)
    laws = "\n".join(f"  - {law}" for law in _laws(said.grounds))
    return f"""{bank}
{event_day(event)}
Our reference {said.letter}

Your request that we erase your personal data

We have your request. We cannot do all of it yet, because the law obliges us to keep records
(UK GDPR art. 17(3)(b) and (e)):

{grounds}

The rules are:

{laws}

Until then your data is kept for these purposes alone and used for no other (art. 18).
{until}

You may complain to the supervisory authority, in the United Kingdom the Information Commissioner,
or go to court.

[The wording of this letter and of the rules it names is to be checked by counsel before it is sent.]
"""


def event_day(past: Past) -> str:
    """Return the day of an event."""
    return day(past.instant)


def _laws(grounds: Iterable[str]) -> list[str]:
    text = " ".join(grounds)
    named = [c for c in clocks.rules().classes if c.keys and f"class {c.id} " in text]
    if "relationship" in text:
        named.append(clocks.rules().of(clocks.RELATIONSHIP))
    if not named:
        named = [clocks.rules().of(clocks.TRADE)]
    return list(dict.fromkeys(f"{c.rule} ({c.law})" for c in named))


def certificate(store: Store, subject: str) -> dict[str, Any]:
    """Return the certificate of what was destroyed last, with all that led to it; raises NotFound."""
    past = _past(store, subject)
    erased = _last(past, m.SubjectErased)
    if erased is None:
        hint = "usance retention show SUBJECT"
        raise NotFound("nothing of this subject was destroyed", hint=hint)
    # What was asked for since is another matter: its approvals are none of this destruction's.
    past = [p for p in past if p.meta.revision <= erased.meta.revision]
    asked = _last(past, m.DisposalProposed, m.ErasureRequested)
    assert asked is not None, "nothing is destroyed that nobody asked for"
    since = [p for p in past if p.meta.revision >= asked.meta.revision]
    proposed = asked.message if isinstance(asked.message, m.DisposalProposed) else None
    held = [p for p in past if isinstance(p.message, m.HoldPlaced | m.HoldReleased)]
    said: m.SubjectErased = erased.message
    return {
        "certificate": said.certificate,
        "stream": erasing.subject_key(store, subject),
        "ground": "retention" if proposed else "request of the data subject (UK GDPR art. 17)",
        "partial": bool(proposed and proposed.partial),
        "subjects": list(asked.message.subjects),
        "classes": [
            {
                "subject": c.subject,
                "class": c.retention,
                "since": iso(c.started),
                "until": iso(c.due),
                "law": clocks.rules().of(c.retention).law,
            }
            for c in (proposed.clocks if proposed else ())
        ],
        "proposer": {"person": asked.message.by, "at": iso(asked.instant)},
        "reason": text_of(asked.message.reason),
        "approvers": [
            {"person": p.message.by, "at": iso(p.instant)}
            for p in since
            if isinstance(p.message, m.ErasureApproved)
        ],
        "holds": [
            {
                "hold": p.message.hold,
                "placed": isinstance(p.message, m.HoldPlaced),
                "by": p.message.by,
                "at": iso(p.instant),
            }
            for p in held
        ],
        "hold_at_destruction": False,
        "destroyed_at": iso(said.at),
        "method": "every version of every key destroyed and its bytes overwritten",
        "keys": said.keys,
        "barriers": said.barriers,
        "processes_that_let_go": said.acknowledged,
        "no_backup_opens_it_after": said.horizon,
        "fields_made_unreadable": _unreadable(store, said.keys),
        "event": {"stream": erasing.subject_key(store, subject), "revision": erased.meta.revision},
        "statement": "Events, their hashes and their proofs are unchanged: usance audit verify.",
    }


def signed(text: bytes, origin: str, key: Any) -> bytes:
    """Return the note over a certificate's bytes, in the log's own name."""
    name = f"{origin}/dispositions"
    return sign(f"{name}\n{b64(sha256(text).digest())}\n", name, key)


def _unreadable(store: Store, keys: list[str]) -> int:
    """Count the blocks that were sealed under keys which are gone."""
    gone = [bytes.fromhex(key) for key in keys]
    count = 0
    for place in store.topics.all_at("events"):
        for record in store.log.scan(place, store.log.begin(place), None, 5_000):
            value = record.value or b""
            count += sum(value.count(key_id) for key_id in gone)
    return count


def _past(store: Store, subject: str) -> list[Past]:
    try:
        return list(store.history.stream(erasing.subject_key(store, subject)))
    except NotFound:
        return []


def _last(past: list[Past], *kinds: type) -> Past | None:
    found: Iterator[Past] = (p for p in reversed(past) if isinstance(p.message, kinds))
    return next(found, None)
