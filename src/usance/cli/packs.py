"""`usance audit export --out PACK.zip`: an audit pack for somebody outside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from usance.bootstrap.packs.auditing import Evidence, evidence
from usance.bootstrap.packs.handing import Pack, make_pack, sealing_on, write_pack
from usance.bootstrap.packs.pack_scope import Request, instant_of
from usance.bootstrap.packs.packing import Packer
from usance.cli import show
from usance.cli.opening import acting, folder, settings
from usance.cli.options import say
from usance.domain.export import REVEALERS
from usance.kernel.authority import demand_role
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused, Unavailable

SUFFIX = ".zip"


def request_of(
    credit: str | None,
    partition: str | None,
    query: str | None,
    as_of: str | None,
    known_at: str | None,
    *,
    case: str,
    reveal: bool,
    reason: str,
) -> Request:
    """Return what the options ask for; raises Refused, Unreadable, Unavailable."""
    said = {"credit": credit, "partition": partition, "query": query}
    chosen = [(kind, value) for kind, value in said.items() if value]
    if len(chosen) != 1:
        raise Refused(
            "EXPORT_WHAT",
            "name one thing to export",
            hint="--credit ID, --partition N, or --query stream=albion/facility/*.",
        )
    if reveal and not reason:
        raise Refused(
            "REASON_NEEDED", "whoever reveals private blocks says why", hint="Add --reason."
        )
    kind, value = chosen[0]
    return Request(
        kind,
        value,
        instant_of(as_of) if as_of else "",
        _head(known_at) if known_at else -1,
        case,
        reveal,
        reason,
    )


def _head(text: str) -> int | bytes:
    if text.isdecimal():
        return int(text)
    try:
        return Path(text).read_bytes()
    except OSError as error:
        raise Unavailable(
            f"the head {text} cannot be read: {error.strerror}",
            hint="--known-at takes a number of heads, or a file of `usance audit head`.",
        ) from error


def export_pack(request: Request, target: Path, *, dry_run: bool = False) -> None:
    """Make, record and write a pack; prints what a covering letter says. `dry_run` only says how large it is."""
    if target.exists():
        raise Refused("PACK_EXISTS", f"{target} is there already", hint="Name another file.")
    with acting() as (desk, person), evidence(folder(), settings()) as found:
        names = {one.id: one.name for one in desk.directory.people.values()}
        if dry_run:
            planned(found, person, names, request, target)
            return
        pack = make_pack(found, person, names, request, desk.ask, hurry=sealing_on(desk.runtime))
        write_pack(pack, target)
    told: dict[str, Any] = {
        "out": str(target),
        "bytes": len(pack.data),
        "records": pack.records,
        "known_at": pack.known_at,
        "reference": pack.reference,
        "fingerprint": pack.fingerprint,
        "verifier": pack.verifier,
    }
    show.emit(told, lambda _: _lines(pack, target))
    say(f"Next: unzip -p {target} verify.py > verify.py")
    say(f"      python3 -I -S verify.py {target} --trust {pack.fingerprint}")


def planned(
    found: Evidence, person: Actor, names: dict[str, str], request: Request, target: Path
) -> None:
    """Say what a pack would hold: for those who may make it. Nothing is handed over, so nothing is recorded."""
    demand_role(person, "ExportPack")
    if request.reveal and person.role not in REVEALERS:
        said = f"private parts are revealed to: {', '.join(sorted(REVEALERS))}"
        raise Refused("REVEAL_DENIED", said, hint="Leave --reveal out.")
    gathered = Packer(found, person, names).gather(request._replace(reveal=False))
    told = {"out": str(target), "records": gathered.records, "known_at": gathered.known_at}
    words = (
        f"Would write {gathered.records:,} records as of {gathered.known_at:,} heads to {target}"
    )
    show.emit(told, lambda _: [f"{words}, and record that you have them."])


def _lines(pack: Pack, target: Path) -> Iterable[str]:
    yield from show.facts(
        {
            "pack": f"{target}, {len(pack.data):,} bytes, {pack.records:,} records",
            "known at": f"{pack.known_at:,} heads",
            "reference": pack.reference,
            "fingerprint": f"{pack.fingerprint} (for the covering letter)",
            "verify.py": f"SHA-256 {pack.verifier}",
        }
    )
