"""What a look at a system finds: a stable code, how bad it is, and the command that mends it."""

from __future__ import annotations

from typing import Any, NamedTuple

AREAS = ("machine", "data", "topics", "clocks", "keys", "certificates", "heads", "access", "flow")
"""What `doctor` looks at, in the order of its page."""

SEVERITIES = ("ok", "warning", "wrong", "unsafe", "tampered")
"""`warning` wants somebody's time soon; `unsafe` can lose records, so a start refuses it."""


class Finding(NamedTuple):
    """One check. `code` is stable, whether or not it is well; `command` mends it, `hint` says what else to do.

    `area` is one of AREAS, `severity` one of SEVERITIES.
    """

    area: str
    code: str
    severity: str
    check: str
    found: str
    command: str = ""
    hint: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is broken: a warning is not yet."""
        return self.severity in ("ok", "warning")

    @property
    def unsafe(self) -> bool:
        """Whether it can lose records."""
        return self.severity == "unsafe"

    @property
    def tampered(self) -> bool:
        """Whether somebody changed what nobody may change."""
        return self.severity == "tampered"

    @property
    def to_do(self) -> str:
        """What a person does about it, in one line: the command, then the words."""
        if self.severity == "ok":
            return ""
        return "; ".join(part for part in (self.command, self.hint) if part)

    def told(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            **self._asdict(),
            "hint": self.hint or self.command,
            "well": self.well,
            "unsafe": self.unsafe,
            "tampered": self.tampered,
        }


def ok(area: str, code: str, check: str, found: str) -> Finding:
    """Return a check that is well."""
    return Finding(area, code, "ok", check, found)


def held(
    area: str,
    code: str,
    check: str,
    found: str,
    *,
    well: bool,
    command: str = "",
    hint: str = "",
    severity: str = "wrong",
) -> Finding:
    """Return a check that is well, or as bad as `severity`."""
    if well:
        return ok(area, code, check, found)
    return Finding(area, code, severity, check, found, command, hint)
