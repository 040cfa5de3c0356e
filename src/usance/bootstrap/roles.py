"""Roles: which parts of the program a process runs. Any number of processes may share a role."""

from __future__ import annotations

from usance.kernel.errors import Refused

INTAKE, NOTARY, OWNER, PROJECTOR = "intake", "notary", "owner", "projector"
SAGA_ROUTER, WEB = "saga-router", "web"
ROLES = (INTAKE, NOTARY, OWNER, PROJECTOR, SAGA_ROUTER, WEB)
"""intake: files and messages into commands; notary: seals the log; owner: decides;
projector: keeps the read models; saga-router: sagas, reactions, screening, messages out; web: console and API."""
ALL = frozenset(ROLES)


def roles_of(text: str) -> frozenset[str]:
    """Return the roles that `all` or a comma-separated list names; raises Refused for an unknown one."""
    if text in ("", "all"):
        return ALL
    found = frozenset(part.strip() for part in text.split(","))
    unknown = sorted(found - ALL)
    if unknown:
        raise Refused(
            "ROLE_UNKNOWN",
            f"there is no role {', '.join(unknown)}",
            hint=f"Roles are all, {', '.join(ROLES)}; several are joined by commas.",
        )
    return found
