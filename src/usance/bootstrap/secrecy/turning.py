"""Turning keys from state to state by people, and signing a key store that an earlier version wrote."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any, NamedTuple

from usance.bootstrap.desk import Desk
from usance.bootstrap.secrecy.erasing import ENGINE, demand_vault, hold_record, send
from usance.bootstrap.store import Store
from usance.crypto.keyservice import KekId, KeyState, Purpose
from usance.crypto.keystore import Hold, KeyRecord
from usance.crypto.sealing import AES_GCM, SealingKey
from usance.crypto.secret import Secret
from usance.crypto.vault import CHECK_BYTES, Vault
from usance.engine.history import Past
from usance.engine.reactors.reactor import Outgoing
from usance.engine.secrecy import key_turns as m
from usance.engine.secrecy.keys import KeyCreated
from usance.engine.secrecy.subjects import HoldPlaced, HoldReleased, SubjectErased
from usance.kernel.authority import demand_role
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.errors import NotFound, Refused, Tampered
from usance.kernel.ids import RandomIds
from usance.kernel.words import Words
from usance.log.contract import header
from usance.messages.outcome import Outcome

KEY_ID_DIGITS = 32
SAID = (b".KeyCreated", b".SubjectErased", b".HoldPlaced", b".HoldReleased")


class Named(NamedTuple):
    """A key that somebody named: its stream, and its state where it is kept."""

    stream: str
    state: KeyState
    record: KeyRecord | None
    kek: KekId | None


def find(store: Store, name: str) -> Named:
    """Return the data key of an id in hex, or the KEK version of a number; raises NotFound."""
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    if name.isdigit() and len(name) < KEY_ID_DIGITS:
        for version in vault.service.versions(tenant):
            if version.id.version == int(name):
                stream = key_of(tenant, m.CATEGORY, f"{m.KEK}{name}")
                return Named(stream, version.state, None, version.id)
    else:
        try:
            found = vault.store.by_id([bytes.fromhex(name)])
        except ValueError:
            found = {}
        for record in found.values():
            stream = key_of(record.tenant, m.CATEGORY, record.key_id.hex())
            return Named(stream, record.state, record, None)
    raise NotFound(f"there is no key {name}", hint="usance key list shows all.")


def standing(store: Store, stream: str) -> m.TurnState:
    """Return what a key's stream says of its state."""
    decider = store.deciders[m.CATEGORY]
    try:
        found: m.TurnState = store.history.fold(decider, stream)
    except NotFound:
        found = decider.initial(stream)
    return found


def story(store: Store, stream: str) -> list[dict[str, Any]]:
    """Return who asked for which state of a key, who agreed, and when it was done."""
    try:
        past = store.history.stream(stream)
    except NotFound:
        return []
    told = []
    for event in past:
        said = event.message
        match said:
            case m.KeyTurnRequested():
                what = f"{said.by} asks: {said.was} to {said.to}, {said.approvals} others to agree"
            case m.KeyTurnApproved():
                what = f"{said.by} agrees ({said.number})"
            case _:
                what = f"{said.was} to {said.to}"
        when = header(event.record.headers, "ce_time") or b""
        told.append({"at": when.decode(), "event": type(said).__name__, "what": what})
    return told


def turn(desk: Desk, name: str, to: str, reason: str, person: Actor) -> Outcome | None:
    """Ask for another state of a key, or agree to what was asked; None when there is nothing to say.

    Where everybody needed has agreed, call `execute`.
    """
    found = find(desk.store, name)
    state = standing(desk.store, found.stream)
    if state.approved and state.to == to:
        return None
    if not state.to or m.supersedes(state, found.state.value, to):
        _demand_spare(desk.store, found, to)
        asked = m.TurnKey(was=found.state.value, to=to, reason=Words(text=reason))
        return send(desk, found.stream, asked, person)
    if state.to != to:
        raise Refused(
            "TURN_PENDING",
            f"it is asked already that this key becomes {state.to}",
            hint="Approve that first, or ask for it in the same words.",
        )
    return send(desk, found.stream, m.ApproveTurn(), person)


def execute(desk: Desk, name: str) -> bool:
    """Do what everybody needed has agreed to; tells whether it was done. May be done again."""
    store = desk.store
    vault = demand_vault(store)
    found = find(store, name)
    state = standing(store, found.stream)
    if not state.approved:
        return False
    _demand_spare(store, found, state.to)
    if found.record is not None:
        vault.store.turn([found.record.key_id], KeyState(state.to))
        vault.hear()
    else:
        assert found.kek is not None
        if found.state is not KeyState.DESTROYED:
            vault.service.destroy(found.kek)
    send(desk, found.stream, m.RecordTurn(), ENGINE)
    return True


def _demand_spare(store: Store, found: Named, to: str) -> None:
    """Raise Refused where living keys need the KEK version that is to go, or it is to be but destroyed."""
    if found.kek is None:
        return
    if to != KeyState.DESTROYED:
        raise Refused(
            "KEK_TURNS_ITSELF",
            "a version of the key-encryption key is active until the next one is made",
            hint="usance key rotate, then usance key destroy VERSION.",
        )
    records = demand_vault(store).store.records()
    needed = sum(not r.dead and r.kek == found.kek.version for r in records)
    if needed:
        raise Refused(
            "KEK_NEEDED",
            f"{needed} living keys are wrapped by version {found.kek.version}",
            hint="Move them first: usance key rewrap",
        )


# -- a store without MACs


class Adoption(NamedTuple):
    """What of a key store has no MAC, each held against the log; and holds that only the log still knows."""

    keys: list[KeyRecord]
    holds: list[Hold]

    def __bool__(self) -> bool:
        """Whether there is anything to sign."""
        return bool(self.keys or self.holds)


def adoptable(store: Store) -> Adoption:
    """Return what may be signed. Each is as the log says, or nothing is: raises Tampered.

    Living keys open to the one that was announced, dead ones are in a certificate, holds were placed. A hold
    that stands in the log and is gone from the store comes back.
    """
    vault = demand_vault(store)
    unsigned = vault.store.unsigned()
    said = _said(store)
    living = [r for r in unsigned if not r.dead]
    opened = vault.service.unwrap([r.wrapped for r in living]) if living else []
    for record, answer in zip(living, opened, strict=True):
        if not isinstance(answer, Secret) or not _is_announced(record, answer, said.announced):
            raise _not_ours(record)
    for record in unsigned:
        if record.dead and record.key_id.hex() not in said.erased:
            raise _not_ours(record)
    return Adoption(unsigned, _holds(vault, said))


def adopt(store: Store, reason: str, actor: Actor) -> Adoption:
    """Have the records signed that an earlier version wrote without a MAC.

    The command that says so is in the log before anything is signed: an owner decides it as soon as one can
    open the store. Raises Refused, Tampered.
    """
    demand_role(actor, m.AdoptKeys.__name__)
    if not reason.strip():
        raise Refused(
            "REASON_REQUIRED", "to adopt a key store needs a reason", hint="Give --reason."
        )
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    found = adoptable(store)
    if not found:
        return found
    mac = vault.mac
    signed = sorted((r.key_id, mac.of(r)) for r in found.keys)
    holds = sorted((f"{h.subject}/{h.id}".encode(), mac.of_hold(h)) for h in found.holds)
    digest = sha256(b"".join(name + code for name, code in [*signed, *holds])).hexdigest()
    words = Words(text=store.cards.passed(reason.encode()).decode())
    command = m.AdoptKeys(keys=len(found.keys), holds=len(found.holds), digest=digest, reason=words)
    vault.store.trust(found.keys)
    command_id = RandomIds().fresh()
    stream = key_of(tenant, m.CATEGORY, m.ADOPTION)
    asked = Outgoing(stream, command, command_id, f"person:{actor.person}", actor=actor)
    store.commands().append([asked], SystemClock().now())
    vault.store.sign(found.keys)
    vault.store.sign_holds(found.holds)
    return found


class _Said(NamedTuple):
    """What events say: check values by key, keys of all certificates, holds that stand, holds that stood."""

    announced: dict[str, str]
    erased: set[str]
    standing: dict[tuple[str, str], dict[str, Hold]]
    lifted: set[tuple[str, str]]


def _holds(vault: Vault, said: _Said) -> list[Hold]:
    """Return the holds to be signed: every one that stands in the log and not, signed, in the store."""
    unsigned = {(h.tenant, h.subject) for h in vault.store.unsigned_holds()}
    for subject in unsigned - said.standing.keys():
        if subject not in said.lifted:
            raise Tampered(
                f"a legal hold on {subject[1]} was placed by nobody that the log knows",
                hint="Put the key store's backup back; nothing was signed.",
            )
    found = []
    for subject, holds in said.standing.items():
        there = set() if subject in unsigned else {h.id for h in vault.store.holds(*subject)}
        found += [hold for name, hold in holds.items() if name not in there]
    return found


def _said(store: Store) -> _Said:
    """Return what the log says of keys and holds."""
    found = _Said({}, set(), {}, set())
    for place in store.topics.all_at("events"):
        for record in store.log.scan(place, store.log.begin(place), None, 5_000):
            kind = header(record.headers, "ce_type") or b""
            if kind.endswith(SAID):
                said = store.closed.message(record.headers, record.value)
                _note(found, Past(None, said, record))
    return found


def _note(found: _Said, past: Past) -> None:
    tenant, _, name = key_parts((past.record.key or b"").decode())
    match past.message:
        case KeyCreated() as made:
            found.announced[made.key] = made.check
        case SubjectErased() as erased:
            found.erased.update(erased.keys)
        case HoldPlaced() as placed:
            standing = found.standing.setdefault((tenant, name), {})
            standing[placed.hold] = hold_record(tenant, name, past)
        case HoldReleased() as released:
            found.standing.get((tenant, name), {}).pop(released.hold, None)
            found.lifted.add((tenant, name))


def _is_announced(record: KeyRecord, secret: Secret, announced: dict[str, str]) -> bool:
    """Tell whether a key is the one that its first use announced; one without use is nobody's."""
    if record.purpose is not Purpose.DATA:
        return True
    commit = SealingKey(record.key_id, secret.reveal(), AES_GCM).commit[:CHECK_BYTES]
    said = announced.get(record.key_id.hex(), record.check.hex())
    right = hmac.compare_digest(commit, record.check)
    return right and hmac.compare_digest(said, record.check.hex())


def _not_ours(record: KeyRecord) -> Tampered:
    return Tampered(
        f"the record of data key {record.key_id.hex()} is not as the log says",
        hint="Put the key store's backup back; no record was signed.",
    )
