"""Turning keys from state to state by people, and signing a key store that an earlier version wrote."""

from __future__ import annotations

import hmac
from typing import Any, NamedTuple

from usance.bootstrap.desk import Desk
from usance.bootstrap.erasing import ENGINE, demand_vault, send
from usance.bootstrap.store import Store
from usance.crypto.keyservice import KekId, KeyState, Purpose
from usance.crypto.keystore import KeyRecord
from usance.crypto.sealing import AES_GCM, SealingKey
from usance.crypto.secret import Secret
from usance.crypto.vault import CHECK_BYTES
from usance.engine import key_turns as m
from usance.engine.keys import KeyCreated
from usance.engine.secrecy import SubjectErased
from usance.kernel.decider import Actor, key_of
from usance.kernel.errors import NotFound, Refused, Tampered
from usance.kernel.words import Words
from usance.log.contract import header
from usance.messages.outcome import Outcome

KEY_ID_DIGITS = 32


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


def adopt(store: Store, *, dry: bool = False) -> int:
    """Sign the records that an earlier version wrote without a MAC; returns how many.

    Each must be as the log says: living ones open to the key that was announced, dead ones are in a
    certificate. Raises Tampered for one that is not, and signs none then.
    """
    vault = demand_vault(store)
    unsigned = vault.store.unsigned()
    announced, erased = _announced(store)
    living = [r for r in unsigned if not r.dead]
    opened = vault.service.unwrap([r.wrapped for r in living]) if living else []
    for record, answer in zip(living, opened, strict=True):
        if not isinstance(answer, Secret) or not _is_announced(record, answer, announced):
            raise _not_ours(record)
    for record in unsigned:
        if record.dead and record.key_id.hex() not in erased:
            raise _not_ours(record)
    if not dry and unsigned:
        vault.store.sign(unsigned)
    return len(unsigned)


def _announced(store: Store) -> tuple[dict[str, str], set[str]]:
    """Return check values by key, and the keys of all certificates, as events say."""
    announced: dict[str, str] = {}
    erased: set[str] = set()
    for place in store.topics.all_at("events"):
        for record in store.log.scan(place, store.log.begin(place), None, 5_000):
            kind = header(record.headers, "ce_type") or b""
            if kind.endswith((b".KeyCreated", b".SubjectErased")):
                said = store.closed.message(record.headers, record.value)
                if isinstance(said, KeyCreated):
                    announced[said.key] = said.check
                elif isinstance(said, SubjectErased):
                    erased |= set(said.keys)
    return announced, erased


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
