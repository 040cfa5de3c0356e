"""What `doctor` says of who can get at what: rights of files, people by role, and whether four eyes are there."""

from __future__ import annotations

from collections.abc import Iterator

from usance.bootstrap.people import Directory, read_directory
from usance.bootstrap.store import Folder
from usance.engine.findings import Finding, ok
from usance.kernel.authority import AUTHORITY, GLASS, SECOND_PERSON
from usance.kernel.errors import UsanceError

OTHERS = 0o077
TWO = 2
SHOWN_MAX = 6
NAMED_MAX = 5


def examine(folder: Folder) -> Iterator[Finding]:
    """Look at the folder's rights and at the effective list of who may do what."""
    if folder.root.exists():
        yield _folder(folder)
    try:
        directory = read_directory(folder.people)
    except UsanceError as error:
        command = f"cp /backups/people.json {folder.people}"
        said, hint = error.message, error.hint
        yield Finding("access", "PEOPLE_UNREADABLE", "wrong", "people", said, command, hint)
        return
    yield from _people(directory, f"${{EDITOR:-vi}} {folder.people}")


def _folder(folder: Folder) -> Finding:
    """Look whether others on this machine can read what a log and its views hold."""
    mode = folder.root.stat().st_mode & 0o777
    sealed = (folder.root / "keys.sqlite").exists()
    if not mode & OTHERS:
        return ok("access", "FOLDER_OPEN", "privacy", f"rights {mode:o}")
    severity = "wrong" if sealed else "warning"
    found = f"rights {mode:o}: others on this machine can read what its views show"
    return Finding("access", "FOLDER_OPEN", severity, "privacy", found, f"chmod 700 {folder.root}")


def _people(directory: Directory, edit: str) -> Iterator[Finding]:
    """List each role with its people and acts, and name acts that miss a second person."""
    by_role: dict[str, list[str]] = {}
    for person in directory.people.values():
        for role in person.roles:
            by_role.setdefault(role, []).append(person.id)
    for role, people in sorted(by_role.items()):
        acts = sorted(act for act, roles in AUTHORITY.items() if role in roles)
        who = ", ".join(people[:NAMED_MAX])
        more = f" and {len(people) - NAMED_MAX} more" if len(people) > NAMED_MAX else ""
        if not acts and role not in ("auditor", GLASS):
            said = f"{who}{more} act as {role}, which may do nothing"
            yield Finding("access", "ROLE_UNKNOWN", "warning", f"role {role}", said, edit)
            continue
        shown = ", ".join(acts[:SHOWN_MAX])
        rest = f" and {len(acts) - SHOWN_MAX} more" if len(acts) > SHOWN_MAX else ""
        yield ok("access", "ACCESS_LIST", f"role {role}", f"{who}{more}: {shown}{rest}")
    for act in sorted(SECOND_PERSON):
        able = {p for role in AUTHORITY[act] for p in by_role.get(role, ())}
        if len(able) >= TWO:
            continue
        hint = f"give one more person a role of: {', '.join(sorted(AUTHORITY[act] - {GLASS}))}"
        severity = "warning" if able else "wrong"
        said = "nobody may do it: what waits for it waits for ever"
        if able:
            said = (
                f"{min(able)} alone may do it: not what they began, and nobody stands in for them"
            )
        yield Finding("access", "FOUR_EYES_SHORT", severity, act, said, edit, hint)
