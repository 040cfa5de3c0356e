"""`usance subject show|hold|erase` and `usance reveal`: who is kept, who is forgotten, who may look."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from usance.cli.options import EXIT_REFUSED, Noun, Verb, dry_run, say, verb

if TYPE_CHECKING:
    from usance.bootstrap.desk import Desk
    from usance.messages.outcome import Outcome

subject = Noun("subject", help="Data subjects: what is kept of them, holds, erasure.")


@verb(subject, "show")
@click.argument("name", metavar="SUBJECT")
def show_subject(name: str) -> None:
    """Tell what is sealed for a data subject: streams, keys, holds, and how far its erasure is.

    It names cases too, so that looking is recorded first. SUBJECT is a party's id, a credit's reference or a
    stream. Example: usance subject show party-1 --as elif.demir
    """
    _shown(name)


def _shown(name: str) -> None:
    from usance.bootstrap.accessing import Look
    from usance.cli.show import emit
    from usance.cli.watched import watched
    from usance.kernel.authority import AUTHORITY
    from usance.views.asking import COMPLIANCE_ROLES

    roles = frozenset(COMPLIANCE_ROLES) | AUTHORITY["ApproveErasure"]
    with watched(Look("subject.view", name), roles, named=True) as seen:
        emit(_facts(seen.desk, name), _lines)


def _facts(desk: Desk, name: str) -> dict[str, Any]:
    from usance.bootstrap.secrecy import erasing
    from usance.kernel.clock import iso

    store = desk.store
    vault, tenant = erasing.demand_vault(store), store.settings.bank.tenant
    found = erasing.belongings(store, name)
    key = erasing.subject_key(store, name)
    state = erasing.standing_of(store, name)
    records = erasing.keys_of(vault, tenant, found.subjects)
    return {
        "subject": name,
        "stream": key,
        "streams": found.streams,
        "subjects": found.subjects,
        "keys": [{"key": r.key_id.hex(), "state": r.state.value} for r in records],
        "holds": [
            {"hold": hold, "since": iso(placed.instant), "by": placed.message.by}
            for hold, placed in erasing.holds_of(store, key).items()
        ],
        "held": state.held or bool(vault.store.holds(tenant, vault.pseudonym(tenant, name))),
        "erasure": state.phase,
        "approvals": len(state.approvers),
        "obliged": erasing.obligations(store, found, desk.clock.now())
        if state.phase != "erased"
        else [],
        "certificate": state.certificate,
    }


def _lines(told: dict[str, Any]) -> list[str]:
    from usance.cli.show import facts

    plain = {
        "subject": told["subject"],
        "streams": str(len(told["streams"])),
        "keys": str(len(told["keys"])),
        "legal holds": _holds_line(told),
        "erasure": told["erasure"] or "not asked for",
        "approvals": f"{told['approvals']} of 2",
        "must be kept": "; ".join(told["obliged"]) or "nothing obliges the bank",
        "certificate": told["certificate"],
    }
    return [*facts(plain), *(f"  {stream}" for stream in told["streams"])]


def _holds_line(told: dict[str, Any]) -> str:
    said = [f"{h['hold']} since {h['since'][:10]} by {h['by']}" for h in told["holds"]]
    return ", ".join(said) or ("stands in the key store alone" if told["held"] else "none")


@verb(subject, "hold")
@click.argument("name", metavar="SUBJECT")
@click.option("--reason", required=True, help="Why it stands, or why it may go.")
@click.option("--release", metavar="HOLD", help="Take this hold away: H1, H2.")
@dry_run
def hold(name: str, reason: str, *, release: str | None, dry_run: bool) -> None:
    """Put one more legal hold on a data subject, or release one: while any stands no key is destroyed.

    Each order is a hold of its own with an id (`usance subject show`), and goes by that id alone.
    Example: usance subject hold party-1 --reason "court order 7 O 12/26" --as farid.haddad
    """
    from usance.bootstrap.secrecy import erasing
    from usance.cli.opening import acting
    from usance.cli.show import emit, facts

    with acting() as (desk, person):
        erasing.demand_vault(desk.store)
        if dry_run:
            say(f"Would release {release}." if release else "Would place a legal hold.")
            return
        told(erasing.hold(desk, name, reason, person, release=release))
        stand = list(erasing.holds_of(desk.store, erasing.subject_key(desk.store, name)))
        emit({"stand": stand}, lambda t: facts({"holds": ", ".join(t["stand"]) or "none"}))


@verb(subject, "erase")
@click.argument("name", metavar="SUBJECT")
@click.option("--reason", default="", help="What the request rests on; needed to ask for it.")
@dry_run
def erase(name: str, reason: str, dry_run: bool) -> None:
    """Ask for an erasure, approve one, or do one that two others have approved: by who acts and what is due.

    Obligations and legal holds stand against it at each step. It cannot be undone.
    Example: usance subject erase party-1 --reason "letter of 3 May" --as elif.demir
    """
    from usance.bootstrap.secrecy import erasing
    from usance.cli.opening import acting
    from usance.cli.show import emit, facts
    from usance.engine.secrecy.subjects import KEPT
    from usance.kernel.authority import demand_role

    if dry_run:
        _shown(name)
        return
    with acting() as (desk, person):
        found = _facts(desk, name)
        phase = found["erasure"]
        if phase == "erased":
            say(f"Erased already, certificate {found['certificate']}.")
            return
        if phase in KEPT:
            outcome = erasing.request(desk, name, reason, person)
            if outcome.code == "RETENTION_OBLIGES":
                say(f"The letter that says so: usance retention letter {name}")
            told(outcome)
            say("Two other people approve it with the same command.")
            return
        if phase == "requested":
            told(erasing.approve(desk, name, person))
            if found["approvals"] + 1 < 2:
                say("One more approval is needed.")
                return
        demand_role(person, "ApproveErasure")
        made = erasing.execute(desk, name)
        emit(made._asdict(), lambda m: facts({k: _short(v) for k, v in m.items()}))


def _short(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, list) else str(value)


def told(outcome: Outcome) -> None:
    """Say why something was refused, and end with its code."""
    from usance.cli.options import tell_refusal

    if outcome.answer in ("accepted", "duplicate"):
        return
    tell_refusal(outcome.message, outcome.code, outcome.article, outcome.hint)
    sys.exit(EXIT_REFUSED)


@click.command(cls=Verb)
@click.argument("event")
@click.argument("field")
@click.option("--reason", required=True, help="Why you need it: recorded before it is shown.")
@dry_run
def reveal(event: str, field: str, reason: str, dry_run: bool) -> None:
    """Show a private field of an event; the access is an event of its own, written first.

    FIELD is a block, or a part of one: parties, parties.applicant.name.
    Example: usance reveal EVENT parties --reason "question of the auditor" --as grace.mwangi
    """
    from usance.bootstrap.secrecy import erasing
    from usance.cli.acting import addressed, opened, settle
    from usance.cli.show import emit
    from usance.views.asking import flat

    with opened(dry=dry_run) as (desk, person):
        if dry_run:
            key, asked, _ = erasing.asking_to_reveal(desk, event, field, reason, person)
            settle(desk, addressed(key, asked, "dry", person), dry=True)
            return
        value = erasing.reveal(desk, event, field, reason, person)
        shown = {field: value} if isinstance(value, str | int | bool) else flat(value)
        emit(shown, lambda s: [f"{k}: {v}" for k, v in s.items()])
