"""`usance key list|show|rotate|rewrap|destroy`: the data keys of a log that seals, and their KEKs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from usance.cli.keys import key
from usance.cli.options import dry_run, say, verb

if TYPE_CHECKING:
    from usance.bootstrap.desk import Desk
    from usance.crypto.keystore import KeyRecord
    from usance.crypto.vault import Vault
    from usance.kernel.decider import Actor

BATCH = 500


@contextmanager
def _keys(*, act: bool = False) -> Iterator[tuple[Desk, Vault]]:
    from usance.bootstrap.secrecy.erasing import demand_vault
    from usance.cli.opening import acting, looking
    from usance.kernel.authority import demand_role

    if act:
        with acting() as (desk, person):
            demand_role(person, "TurnKey")
            yield desk, demand_vault(desk.store)
    else:
        with looking() as seen:
            yield seen.desk, demand_vault(seen.desk.store)


def _row(record: KeyRecord) -> dict[str, Any]:
    return {
        "key": record.key_id.hex(),
        "state": record.state.value,
        "retention": record.retention,
        "version": record.version,
        "kek": record.kek,
        "subject": record.subject,
        "created": record.created,
        "destroyed": record.destroyed,
        "certificate": record.certificate,
    }


@verb(key, "list")
@click.option("--state", default="", help="Only keys in this state, such as active or destroyed.")
def list_keys(state: str) -> None:
    """List data keys: nothing of a key itself is ever shown, and no subject is named.

    Example: usance key list --state destroyed
    """
    from usance.cli.show import Column, emit, table
    from usance.kernel.clock import iso

    columns = (
        Column("Key", lambda k: k["key"]),
        Column("State", lambda k: k["state"]),
        Column("Retention", lambda k: k["retention"]),
        Column("Version", lambda k: str(k["version"]), right=True),
        Column("KEK", lambda k: str(k["kek"]), right=True),
        Column("Created", lambda k: iso(k["created"])[:16]),
    )
    with _keys() as (_, vault):
        rows = [_row(r) for r in vault.store.records() if state in ("", r.state.value)]
    emit(rows, lambda found: table(columns, found, "There are no such keys."))


@verb(key, "show")
@click.argument("name", metavar="KEY")
def show_key(name: str) -> None:
    """Show what is stored of one data key, and whether it opens.

    Example: usance key show 9f86d081884c7d659a2feaa0c55ad015
    """
    from usance.bootstrap.secrecy import turning
    from usance.cli.show import emit, facts
    from usance.crypto.secret import Secret

    with _keys() as (desk, vault):
        found = turning.find(desk.store, name)
        record = found.record
        if record is None:
            told: dict[str, Any] = {"key": str(found.kek), "state": found.state.value}
        else:
            opens = not record.dead and isinstance(
                vault.service.unwrap([record.wrapped])[0], Secret
            )
            told = {**_row(record), "opens": opens}
        told["history"] = turning.story(desk.store, found.stream)

    def lines(t: dict[str, Any]) -> list[str]:
        plain = {k: str(v) for k, v in t.items() if k != "history"}
        return [*facts(plain), *(f"  {h['at'][:16]}  {h['what']}" for h in t["history"])]

    emit(told, lines)


@verb(key, "turn")
@click.argument("name", metavar="KEY")
@click.argument("state", metavar="STATE")
@click.option("--reason", default="", help="Why; needed to ask for it.")
@dry_run
def turn_key(name: str, state: str, reason: str, dry_run: bool) -> None:
    """Bring a data key into another state of SP 800-57, or approve it: two others, unless it takes power.

    States: active, suspended, deactivated, compromised. A suspended or compromised key opens on, flagged.
    Example: usance key turn 9f86d081884c7d659a2feaa0c55ad015 compromised --reason "laptop lost" --as elif.demir
    """
    _turned(name, state, reason, dry_run)


def _turned(name: str, to: str, reason: str, dry: bool) -> None:
    from usance.bootstrap.secrecy import turning
    from usance.bootstrap.secrecy.erasing import demand_vault
    from usance.cli.opening import acting
    from usance.cli.secrecy import told
    from usance.cli.show import emit, facts

    with acting() as (desk, person):
        demand_vault(desk.store)
        if dry:
            found = turning.find(desk.store, name)
            say(f"Would bring it from {found.state.value} to {to}.")
            return
        outcome = turning.turn(desk, name, to, reason, person)
        if outcome is not None:
            told(outcome)
        if not turning.execute(desk, name):
            state = turning.standing(desk.store, turning.find(desk.store, name).stream)
            missing = state.needed - len(state.approvers)
            say(f"{missing} other people approve it with the same command.")
            return
        found = turning.find(desk.store, name)
    emit({"key": name, "state": found.state.value}, facts)


@verb(key, "adopt")
@click.option(
    "--reason", default="", help="Why they are believed, such as the upgrade; needed to sign."
)
@dry_run
def adopt(reason: str, dry_run: bool) -> None:
    """Sign the records of a key store that an earlier version wrote, each held against the log.

    Records of keys and legal holds carry a MAC: whoever can only write the store changes none unseen.
    Those of an earlier version have none, and are refused until somebody of compliance or an engineer
    adopts them. Each key must open to the one that the log announced, each end have a certificate, each
    hold have been placed; where one is not so, nothing is signed. Who adopted what and why is an event
    (KeysAdopted), in the log before anything is signed.

    Example: usance key adopt --reason "upgrade of 3 May" --as henrik.solberg
    """
    from usance.bootstrap.people import read_directory
    from usance.bootstrap.secrecy import turning
    from usance.bootstrap.store import Store
    from usance.cli.opening import actor, folder, settings
    from usance.cli.show import emit, facts
    from usance.kernel.authority import demand_role
    from usance.kernel.clock import SystemClock

    place = folder()
    person = actor(read_directory(place.people))
    demand_role(person, "AdoptKeys")
    # Nothing but the log and the keys is opened: views cannot be read before.
    store = Store(place, settings(), SystemClock(), owner=False)
    try:
        found = turning.adoptable(store) if dry_run else turning.adopt(store, reason, person)
    finally:
        store.close()
    if found and not dry_run:
        _decided(person)
    told = {"keys": str(len(found.keys)), "holds": str(len(found.holds))}
    emit({f"would sign {k}" if dry_run else f"signed {k}": n for k, n in told.items()}, facts)


def _decided(person: Actor) -> None:
    """Open the folder as ever, now that its keys can be read: whoever owns it decides what was recorded."""
    from usance.cli.opening import acting

    with acting() as (desk, _):
        if desk.runtime is not None:
            desk.runtime.drive()
        else:
            say(f"An owner (process {desk.owner}) records {person.person}'s adoption.")


@verb(key, "rotate")
@dry_run
def rotate(dry_run: bool) -> None:
    """Make a new version of the tenant's key-encryption key; then rewrap. No event is touched.

    Example: usance key rotate && usance key rewrap
    """
    from usance.cli.show import emit, facts

    with _keys(act=True) as (desk, vault):
        tenant = desk.settings.bank.tenant
        if dry_run:
            newest = vault.service.versions(tenant)[-1]
            say(f"Would make a version after {newest.id}.")
            return
        made = vault.service.rotate(tenant)
    emit({"kek": str(made.id), "state": made.state.value}, facts)
    say("Next: usance key rewrap")


@verb(key, "rewrap")
@dry_run
def rewrap(dry_run: bool) -> None:
    """Wrap every living data key by the newest key-encryption key, 500 in one call; readers go on.

    Example: usance key rewrap --dry-run
    """
    from usance.cli.show import emit, facts

    with _keys(act=True) as (desk, vault):
        newest = vault.service.versions(desk.settings.bank.tenant)[-1].id.version
        old = [r for r in vault.store.records() if not r.dead and r.kek != newest]
        if dry_run:
            say(f"Would rewrap {len(old)} keys under version {newest}.")
            return
        done = sum(_rewrapped(vault, old[at : at + BATCH]) for at in range(0, len(old), BATCH))
    emit({"rewrapped": done, "kek": newest}, lambda t: facts({k: str(v) for k, v in t.items()}))


def _rewrapped(vault: Vault, part: list[KeyRecord]) -> int:
    from msgspec.structs import replace

    from usance.crypto.keyservice import Wrapped

    answers = vault.service.rewrap([r.wrapped for r in part])
    moved = [
        replace(record, blob=answer.blob, kek=answer.kek.version)
        for record, answer in zip(part, answers, strict=True)
        if isinstance(answer, Wrapped)
    ]
    if len(moved) < len(part):
        say(f"{len(part) - len(moved)} keys could not be opened: usance key list shows them.")
    return vault.store.rewrap(moved)


@verb(key, "destroy")
@click.argument("version", type=click.IntRange(1))
@click.option("--reason", default="", help="Why; needed to ask for it.")
@dry_run
def destroy(version: int, reason: str, dry_run: bool) -> None:
    """Destroy an old version of the key-encryption key for good: backups wrapped by it open no more.

    Two others approve it with the same command. Refused while a living data key is wrapped by it. To forget a
    person: usance subject erase. Example: usance key destroy 1 --reason "horizon of 3 May is over" --as elif.demir
    """
    _turned(str(version), "destroyed", reason, dry_run)


__all__ = ["key"]
