"""Erasing a data subject: what belongs to it, what stands against that, and the steps until nobody can read it.

1. Nothing more is sealed: its keys are suspended in the store, and a barrier is written to every partition of
   commands; once each has decided its barrier, no seal of the subject can come after.
2. The key store destroys every version of every key, having looked for holds and obligations once more.
3. Every process that holds keys says that it let go of them.
4. The certificate is an event; read models are built anew, and what their files freed is overwritten.

Events stay as they are: chains verify, replay goes on, with `Erased` where the blocks were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from usance.bootstrap import clocks
from usance.bootstrap.clocks import Clock
from usance.bootstrap.desk import Desk
from usance.bootstrap.store import Store, make_projector
from usance.crypto.keyservice import KeyState
from usance.crypto.keystore import Hold, KeyRecord, demand_no_hold
from usance.crypto.vault import Vault
from usance.engine.control import SealBarrier
from usance.engine.history import Past
from usance.engine.projections.projector import Projector
from usance.engine.reactors.reactor import Outgoing
from usance.engine.secrecy import subjects as m
from usance.kernel.clock import MS_PER_DAY, iso
from usance.kernel.decider import WITHHELD, Actor, key_of, key_parts
from usance.kernel.errors import NotFound, Refused, Unavailable
from usance.kernel.ids import RandomIds, derived
from usance.kernel.words import Words
from usance.log.contract import Record
from usance.messages.outcome import Outcome
from usance.views import PROJECTIONS

BACKUP_DAYS = 35
"""How long backups of the key store are kept: until then one of them could bring a key back."""
ACK_TIMEOUT_S = 5.0
ENGINE = Actor("engine", "", "system")
SETTLED = frozenset(
    ("CLOSED", "CANCELLED", "REJECTED", "WITHDRAWN", "VOIDED", "DECLINED", "EXPIRED")
)
"""States of a credit in which the bank owes nothing any more."""
DEALS = frozenset(("credit", "presentation", "message", "screening", "case"))
"""Streams that belong to one deal; a facility or a saga's operators are no part of whose deal it is."""


class Belongings(NamedTuple):
    """What is sealed for a subject: names under which keys are kept, and the streams they stand in."""

    subjects: list[str]
    streams: list[str]


class Certificate(NamedTuple):
    """What an erasure did."""

    certificate: str
    keys: list[str]
    barriers: list[str]
    acknowledged: list[str]
    at: int
    horizon: str


def demand_vault(store: Store) -> Vault:
    """Return the data keys; raises Refused in a log whose private blocks stand in clear."""
    if store.vault is None:
        raise Refused(
            "NOT_SEALED",
            "this log keeps private fields in clear: nothing of it can be erased",
            hint="Only a log founded with --profile secure can forget.",
        )
    return store.vault


def subject_key(store: Store, subject: str) -> str:
    """Return the stream of a data subject, which does not name it."""
    tenant = store.settings.bank.tenant
    return key_of(tenant, m.SUBJECT, demand_vault(store).pseudonym(tenant, subject))


def belongings(
    store: Store, subject: str, blocks: Sequence[tuple[str, str, str]] | None = None
) -> Belongings:
    """Find what belongs to a subject: streams that hold its blocks, and what people wrote in them.

    A stream's identity is a subject of its own (a credit's notices are sealed for the credit), and so is the
    stream (words of people that name nobody). `blocks` are those of `blocks_of`, where they were read before.
    """
    names, streams = {subject}, dict[str, None]()
    if blocks is None:
        blocks = list(blocks_of(store))
    grown = True
    while grown:
        grown = False
        for stream, owner, about in blocks:
            ours = key_parts(stream).category in DEALS
            if not ours or stream in streams or not {owner, about, stream} & names:
                continue
            streams[stream] = None
            names |= {stream, key_parts(stream).identity}
            grown = True
    return Belongings(sorted(names), list(streams))


def blocks_of(store: Store) -> Iterable[tuple[str, str, str]]:
    """Yield (stream, subject of a block, credit that the event is about) of every event."""
    closed = store.closed
    for place in store.topics.all_at("events"):
        for record in store.log.scan(place, store.log.begin(place), None, 5_000):
            message = closed.message(record.headers, record.value)
            stream = (record.key or b"").decode()
            about = str(getattr(message, "credit", "") or getattr(message, "subject_stream", ""))
            found = {
                b.subject for name in closed.type_of(record.value).blocks
                if (b := getattr(message, name)) is not None
            }  # fmt: skip
            yield from ((stream, owner or stream, about) for owner in found or {""})


def parts_of(store: Store, found: Belongings, book: clocks.Book | None = None) -> dict[str, Clock]:
    """Return the clock of each name under which keys are kept: of streams, and of the person."""
    book = book or clocks.read_book(store)
    streams = {s: clocks.clock_of_stream(store, book, s, SETTLED) for s in found.streams}
    named = {key_parts(stream).identity: clock for stream, clock in streams.items()} | streams
    person = clocks.clock_of_person(streams.values())
    return {name: named.get(name, person) for name in found.subjects}


def obligations(
    store: Store, found: Belongings, now: int, names: Iterable[str] | None = None
) -> list[str]:
    """Return why the bank must still keep the data (of `names`, else all), in words without data.

    Instruments that still bind come first, then periods that are not over, each ground once.
    """
    parts = parts_of(store, found)
    chosen = parts if names is None else {n: parts[n] for n in names if n in parts}
    standing = [clock for clock in chosen.values() if not clock.over(now)]
    ordered = sorted(standing, key=lambda c: (c.due != clocks.OPEN, -c.due))
    return list(dict.fromkeys(clock.why for clock in ordered))


def possible_at(store: Store, found: Belongings) -> int:
    """Return when nothing obliges the bank any more (ms UTC), OPEN where nobody knows yet."""
    dues = [clock.due for clock in parts_of(store, found).values()]
    return clocks.OPEN if clocks.OPEN in dues else max(dues, default=0)


def keys_of(vault: Vault, tenant: str, subjects: Iterable[str]) -> list[KeyRecord]:
    """Return the data keys of subjects."""
    names = [vault.pseudonym(tenant, s) for s in subjects]
    found = vault.store.of_subjects(tenant, names)
    return [record for records in found.values() for record in records]


def send(desk: Desk, key: str, command: Any, actor: Actor) -> Outcome:
    """Send one command about a subject or an access and wait for its outcome."""
    command_id = RandomIds().fresh()
    return desk.ask(Outgoing(key, command, command_id, f"person:{actor.person}", actor=actor))


def request(desk: Desk, subject: str, reason: str, actor: Actor) -> Outcome:
    """Ask for an erasure; what obliges the bank to keep the data is looked for and recorded."""
    store = desk.store
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    found = belongings(store, subject)
    command = m.RequestErasure(
        subjects=[vault.pseudonym(tenant, s) for s in found.subjects],
        obliged=obligations(store, found, desk.clock.now()),
        reason=Words(text=reason),
    )
    key = subject_key(store, subject)
    outcome = send(desk, key, command, actor)
    if outcome.code == "RETENTION_OBLIGES":
        _restrict(desk, key, found, command.obliged, actor)
    return outcome


def _restrict(desk: Desk, key: str, found: Belongings, grounds: list[str], actor: Actor) -> None:
    """Have it recorded that an erasure was refused for now, with what its letter says."""
    until = possible_at(desk.store, found)
    letter = f"ER-{derived(key, 'letter', str(desk.clock.now()))[:8].upper()}"
    said = m.RestrictErasure(
        person=actor.person, letter=letter, grounds=grounds, until=max(0, until)
    )
    send(desk, key, said, ENGINE)


def approve(desk: Desk, subject: str, actor: Actor) -> Outcome:
    """Approve an erasure; obligations are looked for again."""
    command = m.ApproveErasure(obliged=_standing(desk, subject))
    return send(desk, subject_key(desk.store, subject), command, actor)


def _standing(desk: Desk, subject: str) -> list[str]:
    """Return what stands now against what waits: all that belongs to the subject, or the parts that are named."""
    store = desk.store
    found, state = belongings(store, subject), standing_of(store, subject)
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    asked = set(state.subjects)
    named = [n for n in found.subjects if vault.pseudonym(tenant, n) in asked]
    if len(named) < len(
        asked
    ):  # nobody looked at its clock, and nobody approves what they cannot see
        return ["what is to be destroyed names something that does not belong to the subject"]
    return obligations(store, found, desk.clock.now(), named if state.partial else None)


def standing_of(store: Store, subject: str) -> m.SubjectState:
    """Return how far a data subject's erasure is."""
    key = subject_key(store, subject)
    decider = store.deciders[m.SUBJECT]
    try:
        state: m.SubjectState = store.history.fold(decider, key)
    except NotFound:
        state = decider.initial(key)
    return state


def hold(
    desk: Desk, subject: str, reason: str, actor: Actor, *, release: str | None = None
) -> Outcome:
    """Put one more legal hold on a subject, or take the one away whose id is `release`: in log and key store."""
    store = desk.store
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    words = Words(text=reason)
    command = (
        m.PlaceHold(reason=words) if release is None else m.LiftHold(hold=release, reason=words)
    )
    outcome = send(desk, subject_key(store, subject), command, actor)
    if outcome.answer in ("accepted", "duplicate"):
        name = vault.pseudonym(tenant, subject)
        if release is not None:
            vault.store.release(tenant, name, release)
        keep_holds(vault, tenant, name, holds_of(store, subject_key(store, subject)))
    return outcome


def holds_of(store: Store, key: str) -> dict[str, Past]:
    """Return the legal holds that the log says stand on a data subject, by id."""
    try:
        past = store.history.stream(key)
    except NotFound:
        return {}
    found: dict[str, Past] = {}
    for event in past:
        if isinstance(event.message, m.HoldPlaced):
            found[event.message.hold] = event
        elif isinstance(event.message, m.HoldReleased):
            found.pop(event.message.hold, None)
    return found


def hold_record(tenant: str, name: str, placed: Past) -> Hold:
    """Return what the key store keeps of a legal hold: its reason stays in the log, sealed."""
    said: m.HoldPlaced = placed.message
    return Hold(
        tenant=tenant, subject=name, reason="a legal hold", by=said.by, since=placed.instant,
        id=said.hold,
    )  # fmt: skip


def keep_holds(vault: Vault, tenant: str, name: str, standing: Mapping[str, Past]) -> None:
    """Put every hold that stands into the key store: one that a crash kept out of it, too."""
    there = {h.id for h in vault.store.holds(tenant, name)}
    for hold_id, placed in standing.items():
        if hold_id not in there:
            vault.store.hold(hold_record(tenant, name, placed))


def execute(desk: Desk, subject: str) -> Certificate:
    """Do an approved erasure; every step may be done again. Raises Refused, Unavailable."""
    store = desk.store
    vault, tenant = demand_vault(store), store.settings.bank.tenant
    key = subject_key(store, subject)
    obliged = _standing(desk, subject)
    begun = send(desk, key, m.BeginDestruction(obliged=obliged), ENGINE)
    if begun.answer != "accepted":
        raise Refused(begun.code or begun.answer.upper(), begun.message, hint=begun.hint)
    names = list(standing_of(store, subject).subjects)
    records = [r for rs in vault.store.of_subjects(tenant, names).values() for r in rs]
    for name in names:
        _demand_free(store, vault, tenant, name)
    vault.store.turn([r.key_id for r in records if not r.dead], KeyState.SUSPENDED)
    barriers = _barriers(desk, key, names)
    now = desk.clock.now()
    certificate = derived(key, "certificate", *_number(store, subject))
    obliged = _standing(desk, subject)
    gone = [r for n in names for r in vault.store.destroy(tenant, n, now, certificate, obliged)]
    vault.hear()
    acknowledged = _acknowledged(desk, vault)
    made = Certificate(
        certificate,
        [r.key_id.hex() for r in gone],
        barriers,
        acknowledged,
        now,
        iso(now + BACKUP_DAYS * MS_PER_DAY)[:10],
    )
    command = m.RecordErasure(**made._asdict())
    send(desk, key, command, ENGINE)
    blank(desk)
    return made


def _number(store: Store, subject: str) -> tuple[str, ...]:
    """Return what tells the certificate of this destruction from those of parts destroyed before."""
    parts = standing_of(store, subject).parts
    return (str(len(parts)),) if parts else ()


def _demand_free(store: Store, vault: Vault, tenant: str, name: str) -> None:
    """Raise Refused while log or key store knows a hold: one that is gone from the store stands in the log."""
    said = holds_of(store, key_of(tenant, m.SUBJECT, name))
    demand_no_hold([hold_record(tenant, name, placed) for placed in said.values()], ())
    demand_no_hold(vault.store.holds(tenant, name), ())


def _barriers(desk: Desk, key: str, names: list[str]) -> list[str]:
    """Have every partition decide that it seals nothing more; returns the positions of their answers."""
    store = desk.store
    commands = store.commands()
    now, ids, outputs = desk.clock.now(), [], []
    for context, number in store.topics.places():
        command_id = derived(key, "barrier", context, number, now)
        outgoing = Outgoing(
            key, SealBarrier(subjects=names), command_id, f"erasure:{key}", actor=ENGINE
        )
        topic = store.topics.name(context, "commands")
        made = commands.output(outgoing, now)
        outputs.append(made._replace(topic=topic, partition=number))
        ids.append((command_id, f"{context}.p{number}"))
    answers = desk.send_all(outputs, [i for i, _ in ids], commands)
    missing = [place for (_, place), a in zip(ids, answers, strict=True) if a is None]
    if missing:
        raise Unavailable(
            f"{missing[0]} has not answered the barrier: nothing was destroyed",
            hint="See that its owner runs (usance status), then do it again.",
        )
    return [f"{place}@{a.log_time}" for (_, place), a in zip(ids, answers, strict=True) if a]


def _acknowledged(desk: Desk, vault: Vault) -> list[str]:
    """Wait until every process that holds keys has let go of what was destroyed."""
    wanted = vault.store.generation()
    deadline = desk.clock.monotonic() + ACK_TIMEOUT_S
    while True:
        waiting = [i for i, at, _ in vault.store.acks() if at < wanted and _lives(i)]
        if not waiting:
            return [i for i, at, _ in vault.store.acks() if at >= wanted]
        if desk.clock.monotonic() > deadline:
            raise Unavailable(
                f"process {waiting[0]} has not said that it let go of the destroyed keys",
                hint="End it, or see why it does not go on; then do it again.",
            )
        desk.clock.sleep(0.1)


def _lives(instance: str) -> bool:
    """Tell whether a process of this machine still runs; of others nobody knows."""
    host, _, pid = instance.rpartition(":")
    if host != os.uname().nodename or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def blank(desk: Desk) -> None:
    """Build every read model anew, and overwrite what their file freed."""
    own = desk.runtime.projector if desk.runtime is not None else None
    if isinstance(own, Projector):  # it follows these read models, and goes on with the new ones
        for projection in PROJECTIONS:
            own.rebuild(projection.name)
    else:
        projector = make_projector(desk.store, desk.views, follow=False)
        projector.open()
        try:
            for projection in PROJECTIONS:
                projector.rebuild(projection.name)
        finally:
            projector.close()
    scrub = getattr(desk.views, "scrub", None)
    if scrub is not None:
        scrub()


def asking_to_reveal(
    desk: Desk, event_id: str, field: str, reason: str, actor: Actor
) -> tuple[str, m.RecordReveal, Record]:
    """Return key and command by which a look at a private field is recorded, and the event's record.

    Raises Refused, NotFound.
    """
    store = desk.store
    demand_vault(store)
    record = desk.queries.event_record(actor, event_id)
    name = field.partition(".")[0]
    blocks = store.closed.type_of(record.value).blocks
    if name not in blocks:
        raise Refused(
            "NO_SUCH_FIELD",
            f"this event has no private field {name}",
            hint=f"It has: {', '.join(blocks) or 'none'}.",
        )
    stream = (record.key or b"").decode()
    key = key_of(store.settings.bank.tenant, m.ACCESS, actor.person)
    words = Words(text=reason)
    return key, m.RecordReveal(event=event_id, stream=stream, field=field, reason=words), record


def _demand_fields(value: Any, name: str, path: list[str]) -> None:
    """Refuse what is no field before anything is recorded as revealed; nothing of the value is told."""
    for part in path:
        fields = getattr(type(value), "__struct_fields__", ())
        if part not in fields:
            hint = f"It has: {', '.join(fields)}." if fields else ""
            raise Refused("NO_SUCH_FIELD", f"{name} has no field {part[:60]}", hint=hint)
        value = getattr(value, part)


def reveal(desk: Desk, event_id: str, field: str, reason: str, actor: Actor) -> Any:
    """Return a private field of an event, once the access is recorded; raises Refused, NotFound.

    What cannot be recorded is not shown.
    """
    store = desk.store
    key, asked, record = asking_to_reveal(desk, event_id, field, reason, actor)
    name, *path = field.split(".")
    sealed = getattr(store.decoder.message(record.headers, record.value), name)
    if not isinstance(sealed, WITHHELD):
        _demand_fields(sealed, name, path)
    outcome = send(desk, key, asked, actor)
    if outcome.answer != "accepted":
        raise Refused(outcome.code or "NOT_RECORDED", outcome.message, hint=outcome.hint)
    value = getattr(store.decoder.message(record.headers, record.value), name)
    for part in path:
        value = getattr(value, part)
    return value
