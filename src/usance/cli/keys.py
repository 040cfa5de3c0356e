"""`usance key ceremony|create|check`: the keys that wrap data keys, and who keeps them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from usance.cli.options import Noun, dry_run, say, verb

if TYPE_CHECKING:
    from usance.crypto.shamir import Share

key = Noun("key", help="The keys that wrap data keys, and who keeps them.")
PRIVATE = 0o600


def ask(prompt: str) -> str:
    """Ask the person at the terminal for a secret; raises Refused where there is none."""
    from usance.bootstrap.keys import ask_nobody

    if not sys.stdin.isatty():
        return ask_nobody(prompt)
    answer: str = click.prompt(prompt.capitalize(), hide_input=True, err=True)
    return answer


@verb(key, "ceremony")
@click.option("--shares", type=click.IntRange(2, 16), default=5, show_default=True)
@click.option("--threshold", type=click.IntRange(2, 16), default=3, show_default=True)
@click.option(
    "--to",
    "folders",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Where shares are written: once for each share, a custodian's medium each.",
)
@click.option("--print", "printed", is_flag=True, help="Print all shares at once (rehearsals).")
@click.option(
    "--passphrase",
    "by_passphrase",
    is_flag=True,
    help="No shares: a passphrase opens it, of keys.secret_file or typed twice.",
)
@dry_run
def ceremony(
    shares: int,
    threshold: int,
    folders: tuple[Path, ...],
    *,
    printed: bool,
    by_passphrase: bool,
    dry_run: bool,
) -> None:
    """Make a root and its sealed keyring; its shares go to five custodians, any three open it.

    Without --to or --print each custodian is called to the terminal in turn. All combinations are
    tried before the keyring is written. Whoever runs this keeps nothing.

    Example: usance key ceremony --to /media/a --to /media/b --to /media/c --to /media/d --to /media/e
    """
    from usance.bootstrap import keys
    from usance.cli.opening import settings
    from usance.cli.show import emit, facts
    from usance.kernel.errors import Refused

    found = settings()
    path = keys.keyring_path(found)
    if path is None:
        raise Refused(
            "KEYS_ELSEWHERE",
            f"{found.keys.service.partition(':')[0]} keeps its own root",
            hint="Use that product's ceremony, then `usance key create`.",
        )
    if threshold > shares:
        raise click.UsageError("--threshold is larger than --shares")
    keys.demand_apart(folders, found)
    if dry_run:
        how = "a passphrase" if by_passphrase else f"{threshold} of {shares} shares"
        say(f"Would write a keyring to {path}, opened by {how}.")
        return
    told: dict[str, str | list[str]] = {"keyring": str(path)}
    if by_passphrase:
        keys.found_by_passphrase(path, keys.secret_of(found.keys, "passphrase", _twice))
    else:
        given = keys.found_by_shares(
            path,
            threshold=threshold,
            shares=shares,
            hand_out=lambda made: _handed_out(made, folders, printed=printed),
        )
        say(f"All combinations of {threshold} shares were tried: each opens the keyring.")
        if printed:
            told["shares"] = [share.text() for share in given]
    emit(told, lambda t: [*t.get("shares", []), *facts({"keyring": t["keyring"]})])
    say("Next: usance key create")


@verb(key, "create")
@dry_run
def create(dry_run: bool) -> None:
    """Make the tenant's first key-encryption key, where there is none yet."""
    from usance.bootstrap.keys import open_keys
    from usance.cli.opening import settings
    from usance.cli.show import emit, facts

    found = settings()
    service = open_keys(found, ask)
    try:
        known = service.versions(found.bank.tenant)
        if not known and not dry_run:
            known = [service.create(found.bank.tenant)]
    finally:
        service.close()
    if not known:
        say(f"Would make a key-encryption key for {found.bank.tenant}.")
        return
    newest = known[-1]
    told = {"kek": str(newest.id), "state": newest.state.value}
    emit(told, facts)


@verb(key, "check")
def check() -> None:
    """Ask the key service who it is and which versions the tenant has; proves a key both ways."""
    from usance.bootstrap.keys import open_keys
    from usance.cli.opening import settings
    from usance.cli.show import emit
    from usance.crypto.keyservice import prove

    found = settings()
    service = open_keys(found, ask)
    try:
        report = service.check()
        versions = service.versions(found.bank.tenant)
        if versions:
            prove(service, found.bank.tenant)
    finally:
        service.close()
    told = {
        "service": report._asdict(),
        "tenant": found.bank.tenant,
        "proven": bool(versions),
        "versions": [
            {
                "version": v.id.version,
                "state": v.state.value,
                "created": v.created,
                "final": v.final,
            }
            for v in versions
        ],
    }
    emit(told, _check_lines)
    if not versions:
        say("Next: usance key create")


def _check_lines(told: dict[str, object]) -> list[str]:
    from usance.cli.show import Column, facts, table
    from usance.kernel.clock import iso

    service, versions = told["service"], told["versions"]
    assert isinstance(service, dict) and isinstance(versions, list)
    proof = "a key was wrapped and opened" if told["proven"] else "nothing to prove yet"
    columns = (
        Column("Version", lambda v: str(v["version"]), right=True),
        Column("State", lambda v: v["state"]),
        Column("Created", lambda v: iso(v["created"]) if v["created"] else ""),
        Column("Final", lambda v: iso(v["final"]) if v["final"] else ""),
    )
    lines = facts({**service, "tenant": str(told["tenant"]), "proof": proof})
    return [*lines, *table(columns, versions, "There is no key-encryption key yet.")]


def _twice(prompt: str) -> str:
    from usance.kernel.errors import Refused

    first = ask(prompt)
    if ask(f"{prompt} again") != first:
        raise Refused("PASSPHRASES_DIFFER", "the two passphrases differ", hint="Begin again.")
    return first


def _handed_out(made: list[Share], folders: tuple[Path, ...], *, printed: bool) -> list[Share]:
    """Give each share to its custodian and return what can be read again."""
    from usance.crypto.shamir import read_share
    from usance.kernel.errors import Refused

    if folders:
        places = {folder.resolve() for folder in folders}  # one place may be spelt in two ways
        if len(places) != len(made):
            raise Refused(
                "SHARES_TOGETHER",
                f"{len(places)} folders were named for {len(made)} shares",
                hint="Name --to once for each share: two shares in one place are one custodian less.",
            )
        files: list[Path] = []
        try:
            for share, folder in zip(made, folders, strict=True):
                files.append(_written(share, folder))
        except Refused:
            for file in files:  # shares of a root that opens nothing only mislead
                file.unlink()
            raise
        return [read_share(file.read_text()) for file in files]
    if printed:
        return [read_share(share.text()) for share in made]
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused(
            "CUSTODIANS_MISSING",
            "there is no terminal for the custodians",
            hint="Name a folder for each share with --to, or rehearse with --print.",
        )
    return [_shown(share, len(made)) for share in made]


def _written(share: Share, folder: Path) -> Path:
    from usance.kernel.errors import Refused

    file = folder / f"usance-share-{share.commitment.hex()[:8]}-{share.index}.txt"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except OSError as error:
        raise Refused(
            "SHARE_NOT_WRITTEN",
            f"{file} cannot be written: {error.strerror}",
            hint="No keyring was made. Give the custodian another medium and begin again.",
        ) from error
    with os.fdopen(descriptor, "w") as out:
        out.write(share.text() + "\n")
        out.flush()
        os.fsync(out.fileno())
    say(f"Share {share.index} is in {file}.")
    return file


def _shown(share: Share, count: int) -> Share:
    """Show one custodian a share, and take it back as typed: what was misread is found out now."""
    from usance.crypto.shamir import read_share
    from usance.kernel.errors import Unreadable

    click.clear()
    click.pause(f"Custodian {share.index} of {count}, alone at the screen: press a key.", err=True)
    click.echo(share.text())
    while True:
        try:
            back = read_share(ask(f"type or paste share {share.index} as you wrote it down"))
        except Unreadable as error:
            say(error.reason)
            continue
        if back == share:
            click.clear()
            return back
        say("That is another share.")
