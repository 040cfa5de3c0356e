"""`usance audit`: signed heads, proofs, and verification from files alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from usance.cli.options import EXIT_REFUSED, EXIT_TAMPERED, Noun, dry_run, say, session, verb

audit = Noun(
    "audit",
    help="The transparency log: heads, proofs, verification; and the matrix of controls.",
    lazy={
        "access": ("usance.cli.accesses:access", "Who looked at what, and who was denied what."),
        "controls": ("usance.cli.controls:controls", "Show what rules ask and what shows it."),
        "deposit": ("usance.cli.safe:deposit", "Put tiles and packs into the safe."),
        "safe": ("usance.cli.safe:safe", "Check what the safe keeps, and attack it."),
    },
)

_policy = click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose keys to trust (C2SP tlog-policy); the keys pinned at the first start without it.",
)


def opened(policy: Path | None = None) -> Any:
    """Return the proof of the folder's log, to be read."""
    from usance.bootstrap.backend import demand_log
    from usance.bootstrap.packs.auditing import evidence
    from usance.cli.opening import folder, settings

    demand_log(folder().log, settings())
    return evidence(folder(), settings(), policy)


@verb(audit, "head")
def head() -> None:
    """Print the newest signed head of the log of heads: keep it, and ask `verify --since` for it later.

    Example: usance audit head > monday.head
    """
    from usance.audit.note import parse_checkpoint, parse_note
    from usance.cli.show import emit

    with opened() as found:
        raw = found.head()
    said = parse_checkpoint(parse_note(raw).text)
    as_json = {
        "origin": said.origin,
        "size": said.size,
        "root": said.root.hex(),
        "signed_by": [s.name for s in parse_note(raw).signatures],
        "note": raw.decode(),
    }
    emit(as_json, lambda _: raw.decode().rstrip("\n").split("\n"))


@verb(audit, "prove")
@click.argument("event", metavar="EVENT")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the proof's files."
)
def prove(event: str, out: Path | None) -> None:
    """Prove that a record is in the log: EVENT is its id, or its place such as trade.p1#17.

    Example: usance audit prove trade.p0#0 --out proof
    """
    from usance.bootstrap.packs.auditing import write_proof
    from usance.cli.show import emit
    from usance.cli.watched import demand_place

    with opened() as found:
        proven = found.prove(event)
    demand_place(proven.folder)
    with opened() as found:
        files = write_proof(proven, found.policy, found.origins, out) if out else []
    as_json = {
        "folder": proven.folder,
        "index": proven.at,
        "id": proven.event_id,
        "leaf": proven.leaf.hex(),
        "proof": proven.proof.decode(),
        "head_proof": proven.head.decode() if proven.head else None,
        "files": [str(out / name) for name in files] if out else [],
    }
    emit(as_json, lambda _: proven.proof.decode().rstrip("\n").split("\n"))
    if not proven.head:
        say("Its head is not in the log of heads yet: ask again in a second.")
    if out is None:
        say(f"Next: usance audit prove {event} --out DIR writes it with the leaf and the keys.")


@verb(audit, "verify")
@_policy
@click.option(
    "--since",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An older head: demand that the log extends it.",
)
@click.option("--full", is_flag=True, help="Receipts and schemas of every record too.")
@click.option(
    "--max-age", type=click.IntRange(1), metavar="SECONDS", help="How old a cosigned head may be."
)
def verify(policy: Path | None, since: Path | None, full: bool, max_age: int | None) -> None:
    """Derive every leaf again and hold it against tiles, heads, witnesses and anchors; offline.

    Names the first wrong record of each partition with the code of what happened to it.
    Exit code 0 whole, 5 tampered with. Example: usance audit verify --since monday.head
    """
    with opened(policy) as found:
        report = found.audit(since=since, full=full, max_age_s=max_age)
    _tell(report)


@verb(audit, "scrub")
@_policy
@dry_run
def scrub(policy: Path | None, dry_run: bool) -> None:
    """Verify in full, and keep the result as a signed note among the anchors.

    Exit code 0 whole, 5 tampered with. Example: usance audit scrub
    """
    with opened(policy) as found:
        report = found.audit(full=True)
        if not dry_run:
            found.scrubbed(report)
    _tell(report)
    if dry_run:
        say("Nothing was kept of it.")


def _tell(report: Any) -> None:
    import msgspec

    from usance.cli.show import Column, emit, table
    from usance.views.guarded import masked

    columns = (
        Column("Tree", lambda t: t.folder),
        Column("Leaves", lambda t: f"{t.size:,}", right=True),
        Column("Unsealed", lambda t: f"{t.unsealed:,}", right=True),
        Column("Root", lambda t: t.root.hex()[:16]),
        Column("", lambda t: t.finding.code if t.finding else "whole"),
    )

    def lines(_: Any) -> Iterable[str]:
        return table(columns, report.trees, "Nothing is sealed.")

    as_json = {
        **msgspec.to_builtins(report),
        "trees": [{**msgspec.to_builtins(t), "root": t.root.hex()} for t in report.trees],
        "whole": report.whole,
        "leaves": report.leaves,
    }
    emit(msgspec.json.decode(masked(msgspec.json.encode(as_json).decode())), lines)
    for text in report.notes:
        say(masked(text))
    for one in (
        report.findings
    ):  # a broken log can record nothing: findings name places, no streams of compliance
        say(masked(f"{one.code} at {one.where}: {one.reason}"))
        say(f"  {one.hint}")
    if report.findings:
        sys.exit(EXIT_TAMPERED)
    if not report.heads:
        unsealed = sum(tree.unsealed for tree in report.trees)
        say(f"Nothing is proven: no head was signed, {unsealed:,} records are not sealed.")
        return
    extends = f"; extends the old head of {report.since:,}" if report.since is not None else ""
    say(
        f"Whole: {report.leaves:,} leaves under {report.heads:,} heads, {report.anchors:,} anchors"
        f"{extends}. Trusted: {report.trusted}"
    )


@verb(audit, "export")
@click.option("--credit", metavar="ID", help="A pack of a credit and all that belongs to it.")
@click.option(
    "--partition", metavar="N|FOLDER", help="A number of trade's events, or a tree's folder."
)
@click.option(
    "--query", metavar="FIELD=VALUE", help="A pack of streams: stream, correlation, actor, type."
)
@click.option("--heads", is_flag=True, help="The log of heads, as a folder.")
@click.option("--as-of", metavar="TIME", help="Pack: only what was decided by then.")
@click.option("--known-at", metavar="HEAD", help="Pack: as of a number of heads, or a saved head.")
@click.option("--case", default="", metavar="REF", help="Pack: the reference of whoever asked.")
@click.option("--reveal", is_flag=True, help="Pack: open sealed private parts; asks for a reason.")
@click.option("--reason", default="", help="Pack: why they are opened; kept, and private.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="A new folder, or PACK.zip for an audit pack.",
)
@dry_run
def export(
    credit: str | None,
    partition: str | None,
    query: str | None,
    heads: bool,
    as_of: str | None,
    known_at: str | None,
    case: str,
    reveal: bool,
    reason: str,
    out: Path,
    dry_run: bool,
) -> None:
    """Write an audit pack (--out PACK.zip), or a tree as a folder for third-party tools.

    A pack proves itself to anybody who has Python: events, stored bytes, proofs, a timeline to read, and
    verify.py. That it was handed over is recorded first. A folder has the C2SP tlog-tiles layout.

    Example: usance audit export --credit TF26LC0108 --out pack.zip --as grace.mwangi
    """
    from usance.kernel.errors import Refused

    if out.suffix == ".zip":
        from usance.cli.packs import export_pack, request_of

        if heads:
            raise Refused("EXPORT_WHAT", "the log of heads is a folder", hint="--out FOLDER.")
        request = request_of(
            credit, partition, query, as_of, known_at, case=case, reveal=reveal, reason=reason
        )
        export_pack(request, out, dry_run=dry_run)
        return
    if credit or query or as_of or known_at or case or reveal or reason:
        raise Refused("EXPORT_WHAT", "this makes a pack", hint="Name a zip: --out PACK.zip.")
    _export_folder(partition, heads, out, dry_run=dry_run)


def _export_folder(partition: str | None, heads: bool, out: Path, *, dry_run: bool) -> None:
    from usance.cli.show import emit
    from usance.kernel.errors import Refused

    if (partition is None) == (not heads):
        raise Refused("EXPORT_WHAT", "name one tree", hint="--partition N, or --heads.")
    from usance.cli.watched import demand_place
    from usance.engine.proof.sealing import folder_of

    with opened() as found:
        place = None if partition is None else found.partition(partition)
    if place is not None:
        demand_place(folder_of(place))
    with opened() as found:
        files = found.export(place, out, dry_run=dry_run)
    if dry_run:
        emit(
            {"out": str(out), "files": files},
            lambda _: [f"Would write {len(files)} files to {out}"],
        )
        return
    emit({"out": str(out), "files": files}, lambda _: [f"{len(files)} files in {out}"])
    say(
        f"Next: fsck --storage_url=file://{out.absolute()}/ --public_key={out}/log.vkey --ui=false --N=4"
    )


@verb(audit, "attack")
@click.option("--all", "every", is_flag=True, help="Every attack of the table.")
@click.option(
    "--id", "ids", multiple=True, type=click.IntRange(1), help="One attack by its number."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def attack(every: bool, ids: tuple[int, ...], as_json: bool) -> None:
    """Attack copies of the data folder in every way of the table, and see that each attack is found.

    The folder of --data is only read, and must not be in use: name a copy. Exit code 0 where every attack
    is found by its own code, 1 where one is not. Example: usance audit attack --all --data copy --json
    """
    from usance.cli.opening import folder, settings
    from usance.cli.show import Column, emit, table
    from usance.kernel.errors import Refused
    from usance.testing.attack import run_attacks

    if as_json:
        session().said["output"] = "json"
    if every == bool(ids):
        raise Refused("WHICH_ATTACKS", "name attacks", hint="--all, or --id N, as often as needed.")

    def tell(one: Any) -> None:
        if sys.stderr.isatty():
            say(f"{one.id:2} {one.code}: {'found' if one.detected else 'NOT FOUND'}")

    found = run_attacks(folder().root, settings(), ids, tell)
    columns = (
        Column("", lambda a: str(a["id"]), right=True),
        Column("Attack", lambda a: a["name"]),
        Column("Code", lambda a: a["code"]),
        Column("", lambda a: "found" if a["detected"] else "NOT FOUND"),
        Column("Where", lambda a: a["where"]),
    )
    emit(found, lambda f: table(columns, f["attacks"]))
    if not all(one["detected"] for one in found["attacks"]):
        sys.exit(EXIT_REFUSED)


@verb(audit, "witness")
@click.option(
    "--key",
    "logs",
    multiple=True,
    metavar="VKEY",
    help="Key of a log to be witnessed (the `heads` line of its policy.txt); this folder's own without it.",
)
@click.option("--name", default="witness.example/w1", help="Name of this witness.", metavar="NAME")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Its folder.")
@click.option("--port", type=click.IntRange(0, 65_535), default=7380)
@dry_run
def witness(logs: tuple[str, ...], name: str, state: Path | None, port: int, dry_run: bool) -> None:
    """Run a witness (C2SP tlog-witness) on this machine: it cosigns heads that extend what it has seen.

    Prints its key as JSON. Run it where the bank's administrators cannot write.
    Example: usance audit witness --state /var/lib/witness --key 'bank.example/usance/...'
    """
    from usance.bootstrap.proof.proving import run_witness
    from usance.cli.opening import folder, settings
    from usance.cli.show import emit_line

    if dry_run:
        root = state or folder().root / "witness-server"
        whose = f"{len(logs)} logs" if logs else "this folder's log"
        say(f"Would witness {whose} as {name} on port {port}, with key and memory in {root}.")
        return
    run_witness(logs, name, state, port, folder(), settings(), emit_line)
