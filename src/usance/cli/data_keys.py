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

BATCH = 500


@contextmanager
def _keys(*, act: bool = False) -> Iterator[tuple[Desk, Vault]]:
    from usance.bootstrap.erasing import demand_vault
    from usance.cli.opening import acting, looking

    if act:
        with acting() as (desk, _):
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
    from usance.cli.show import emit, facts
    from usance.crypto.secret import Secret
    from usance.kernel.errors import NotFound

    with _keys() as (_, vault):
        try:
            found = vault.store.by_id([bytes.fromhex(name)])
        except ValueError:
            found = {}
        if not found:
            raise NotFound(f"there is no key {name}", hint="usance key list shows all.")
        record = next(iter(found.values()))
        opens = not record.dead and isinstance(vault.service.unwrap([record.wrapped])[0], Secret)
        told = {**_row(record), "opens": opens}
    emit(told, lambda t: facts({k: str(v) for k, v in t.items()}))


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
@dry_run
def destroy(version: int, dry_run: bool) -> None:
    """Destroy an old version of the key-encryption key for good: backups wrapped by it open no more.

    Refused while a living data key is wrapped by it. To forget a person: usance subject erase.
    Example: usance key destroy 1
    """
    from usance.cli.show import emit, facts
    from usance.crypto.keyservice import KekId
    from usance.kernel.errors import Refused

    with _keys(act=True) as (desk, vault):
        needed = sum(not r.dead and r.kek == version for r in vault.store.records())
        if needed:
            raise Refused(
                "KEK_NEEDED",
                f"{needed} living keys are wrapped by version {version}",
                hint="Move them first: usance key rewrap",
            )
        kek = KekId(desk.settings.bank.tenant, version)
        if dry_run:
            say(f"Would destroy {kek}.")
            return
        gone = vault.service.destroy(kek)
    emit({"kek": str(gone.id), "state": gone.state.value}, facts)


__all__ = ["key"]
