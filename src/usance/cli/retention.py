"""`usance retention`: what is kept until when, and how what is over is destroyed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usance.cli.options import Noun, dry_run, say, verb

if TYPE_CHECKING:
    from usance.bootstrap.secrecy.retaining import Kept

retention = Noun("retention", help="What is kept until when; proposals, approvals, certificates.")

STATES = ("active", "due", "held", "restricted", "proposed", "approved", "destroying", "destroyed")
_out = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of the screen."
)


@verb(retention, "classes")
def classes() -> None:
    """Show the classes: how long what is kept, from when, by which rule."""
    from usance.bootstrap.clocks import rules
    from usance.cli.show import Column, emit, one_line, table

    def years(row: Any) -> str:
        return "for ever" if row.years < 0 else f"{row.years} years"

    columns = (
        Column("Class", lambda c: c.id),
        Column("Kept", years),
        Column("From", lambda c: c.start.replace("-", " ")),
        Column("Ended by", lambda c: "keys" if c.keys else "decision"),
        Column("What", lambda c: one_line(c.what, 60)),
        Column(
            "Rule",
            lambda c: f"{c.law}{'' if c.wording == 'checked' else ' (to be checked by counsel)'}",
        ),
    )
    found = rules()
    emit(found, lambda r: table(columns, r.classes))
    say(f"Between a proposal and a destruction lie {found.cooling_off_days} days at least.")


@verb(retention, "list")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only what is so far.")
def list_kept(state: str | None) -> None:
    """List data subjects with what is kept of them and until when; looking is recorded first.

    Example: usance retention list --state due --as farid.haddad
    """
    from usance.bootstrap.accessing import Look
    from usance.bootstrap.secrecy.retaining import listed
    from usance.cli.show import Column, emit, one_line, table
    from usance.cli.watched import watched

    columns = (
        Column("Subject", lambda k: k.subject),
        Column("State", lambda k: k.state),
        Column("Since", lambda k: k.started),
        Column("Until", lambda k: k.due or "an instrument runs"),
        Column("Streams", lambda k: str(k.streams), right=True),
        Column("Parts over", lambda k: str(len(k.over)), right=True),
        Column("Why", lambda k: one_line(k.why, 70)),
    )
    with watched(Look("retention.list", state or ""), _readers(), named=True) as seen:
        rows = listed(seen.desk.store, seen.desk.clock.now(), state=state or "")
        emit(rows, lambda r: table(columns, r, "Nobody is like that."))


def _readers() -> frozenset[str]:
    from usance.views.asking import COMPLIANCE_ROLES

    return frozenset(COMPLIANCE_ROLES)


@verb(retention, "show")
@click.argument("subject")
def show_kept(subject: str) -> None:
    """Show what is kept of one data subject, and what stands against its destruction.

    Example: usance retention show party-1 --as farid.haddad
    """
    from usance.bootstrap.accessing import Look
    from usance.bootstrap.secrecy.retaining import kept
    from usance.cli.show import emit
    from usance.cli.watched import watched

    with watched(Look("retention.view", subject), _readers(), named=True) as seen:
        emit(kept(seen.desk.store, subject, seen.desk.clock.now()), _lines)


def _tried(subject: str) -> None:
    """Show what an act would rest on, as `show` does: to those who may look or act, and recorded first."""
    from usance.bootstrap.accessing import Look
    from usance.bootstrap.secrecy.retaining import kept
    from usance.cli.show import emit
    from usance.cli.watched import watched
    from usance.kernel.authority import AUTHORITY

    roles = _readers() | AUTHORITY["ApproveErasure"]
    with watched(Look("retention.view", subject), roles, named=True) as seen:
        emit(kept(seen.desk.store, subject, seen.desk.clock.now()), _lines)


def _lines(row: Kept) -> list[str]:
    from usance.cli.show import facts

    return facts(
        {
            "subject": row.subject,
            "state": row.state,
            "class": row.retention,
            "since": row.started,
            "until": row.due or "an instrument runs",
            "why": row.why or "its time is over",
            "legal hold": ", ".join(row.holds) or "none",
            "approvals": f"{row.approvals} of 2",
            "parts over": ", ".join(row.over),
            "letter": row.letter,
            "certificate": row.certificate,
            "earlier, in part": ", ".join(row.certificates),
            "stream": row.stream,
        }
    )


@verb(retention, "propose")
@click.argument("subject")
@click.option("--reason", required=True, help="What the proposal rests on.")
@click.option("--partial", is_flag=True, help="Only what is over already; the rest stays.")
@dry_run
def propose(subject: str, reason: str, partial: bool, dry_run: bool) -> None:
    """Propose to destroy what is over: two other people approve it, and it cools off for some days.

    Example: usance retention propose party-1 --reason "year-end review" --as elif.demir
    """
    from usance.bootstrap.secrecy import retaining
    from usance.cli.opening import acting
    from usance.cli.secrecy import told

    if dry_run:
        _tried(subject)
        return
    with acting() as (desk, person):
        told(retaining.propose(desk, subject, reason, person, partial=partial))
        say(f"Two other people approve it: usance retention approve {subject}")


@verb(retention, "approve")
@click.argument("subject")
@dry_run
def approve(subject: str, dry_run: bool) -> None:
    """Approve what was proposed or asked for, as another person.

    Example: usance retention approve party-1 --as dev.raghavan
    """
    from usance.bootstrap.secrecy import erasing
    from usance.cli.opening import acting
    from usance.cli.secrecy import told

    if dry_run:
        _tried(subject)
        return
    with acting() as (desk, person):
        told(erasing.approve(desk, subject, person))
        state = erasing.standing_of(desk.store, subject)
        if state.phase == "approved":
            say(f"Approved by two. Next: usance retention destroy {subject}")
        else:
            say("One more approval is needed.")


@verb(retention, "withdraw")
@click.argument("subject")
@click.option("--reason", required=True, help="Why it is taken back.")
@dry_run
def withdraw(subject: str, reason: str, dry_run: bool) -> None:
    """Take back what waits for approval or destruction."""
    from usance.bootstrap.secrecy import retaining
    from usance.cli.opening import acting
    from usance.cli.secrecy import told

    with acting() as (desk, person):
        if dry_run:
            say("Would take the proposal back.")
            return
        told(retaining.withdraw(desk, subject, reason, person))


@verb(retention, "destroy")
@click.argument("subject")
@dry_run
def destroy(subject: str, dry_run: bool) -> None:
    """Destroy what two people approved: keys go, the certificate comes. It cannot be undone.

    Holds and clocks are looked at once more, here and in the key store.
    Example: usance retention destroy party-1 --as farid.haddad
    """
    from usance.bootstrap.secrecy import erasing
    from usance.cli.opening import acting
    from usance.cli.show import emit, facts
    from usance.kernel.authority import demand_role

    if dry_run:
        _tried(subject)
        return
    with acting() as (desk, person):
        demand_role(person, "ApproveErasure")
        made = erasing.execute(desk, subject)
        short = {
            k: str(len(v)) if isinstance(v, list) else str(v) for k, v in made._asdict().items()
        }
        emit(made._asdict(), lambda _: facts(short))
        say(f"Next: usance retention certificate {subject} --out FILE")


@verb(retention, "letter")
@click.argument("subject")
@_out
def letter(subject: str, out: Path | None) -> None:
    """Print the letter by which an erasure is refused for now: grounds, rules, and when it will be possible.

    Its wording is to be checked by counsel. Example: usance retention letter party-1 --as elif.demir
    """
    from usance.bootstrap.accessing import Look
    from usance.bootstrap.secrecy.retaining import letter as made
    from usance.cli.show import clean, emit
    from usance.cli.watched import watched

    with watched(Look("retention.letter", subject), _readers(), named=True) as seen:
        text = made(seen.desk.store, subject, seen.desk.settings.bank.name)
    if out is not None:
        _written(out, text.encode())
        return
    emit({"letter": text}, lambda _: clean(text).splitlines())


@verb(retention, "certificate")
@click.argument("subject")
@_out
def certificate(subject: str, out: Path | None) -> None:
    """Print the certificate of a destruction; with --out, beside it a note signed with the log's key.

    Example: usance retention certificate party-1 --out party-1.json --as grace.mwangi
    """
    from usance.bootstrap.accessing import Look
    from usance.bootstrap.packs.auditing import evidence
    from usance.bootstrap.secrecy import retaining
    from usance.cli.opening import folder, settings
    from usance.cli.show import emit_json
    from usance.cli.watched import watched

    with watched(Look("retention.certificate", subject), _readers(), named=True) as seen:
        made = retaining.certificate(seen.desk.store, subject)
    if out is None:
        emit_json(made)
        return
    text = json.dumps(made, indent=2, ensure_ascii=False).encode() + b"\n"
    with evidence(folder(), settings()) as found:
        note = retaining.signed(text, found.origins.base, found.signer())
    _written(out, text)
    _written(out.with_name(f"{out.name}.note"), note)


def _written(out: Path, data: bytes) -> None:
    from usance.kernel.errors import Refused, Unavailable

    if out.exists():
        raise Refused("FILE_EXISTS", f"{out} is there already", hint="Name another file.")
    try:
        out.write_bytes(data)
    except OSError as error:
        hint = "Name another place with --out."
        raise Unavailable(f"{out} cannot be written: {error.strerror}", hint=hint) from error
    say(f"Written to {out}.")
