"""The table of authority as Cedar policies: for auditors who read that language, and as the oracle of a test.

`usance audit controls --cedar` prints them. A request has a command's name as its action, and a context: `role`
(the role used), `own` (the person entered, proposed or asked for what the act is on) and `tier`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from usance.kernel.authority import (
    AUTHORITY,
    BREAKABLE,
    ENGINE,
    GLASS,
    SECOND_PERSON,
    SENIOR,
    TIERED,
)

_HEAD = """// Who may do what in usance, made from kernel/authority.py. Closed by default.
// context: { role: String, own: Bool, tier: String }. Person, not login, decides what is one's own.
"""


def policies() -> str:
    """Return the policies."""
    parts = [_HEAD]
    by_roles: dict[frozenset[str], list[str]] = {}
    for act, roles in AUTHORITY.items():
        if roles:
            by_roles.setdefault(roles, []).append(act)
    for roles, acts in sorted(by_roles.items(), key=lambda pair: sorted(pair[1])):
        parts.append(_rule("permit", acts, f"{_texts(roles)}.contains(context.role)"))
    parts.append("// Sagas, timers and the engine act on recorded decisions.\n")
    parts.append(
        f"permit (principal, action, resource)\nwhen {{ context.role == {_text(ENGINE)} }};\n"
    )
    parts.append("// Behind broken glass: noted act by act, bounded in time, reviewed.\n")
    parts.append(_rule("permit", BREAKABLE, f"context.role == {_text(GLASS)}"))
    parts.append("// Four eyes: a second person, whatever the role.\n")
    parts.append(_rule("forbid", SECOND_PERSON, "context.own"))
    parts.append("// The senior tier.\n")
    senior = f'context.tier == "senior" && !{_texts(SENIOR)}.contains(context.role)'
    parts.append(_rule("forbid", TIERED, senior))
    return "\n".join(parts)


def _rule(effect: str, acts: Iterable[str], condition: str) -> str:
    names = ", ".join(f"Action::{_text(act)}" for act in sorted(acts))
    return f"{effect} (\n  principal,\n  action in [{names}],\n  resource\n)\nwhen {{ {condition} }};\n"


def _texts(names: Iterable[str]) -> str:
    return f"[{', '.join(_text(name) for name in sorted(names))}]"


def _text(name: str) -> str:
    return json.dumps(name)
