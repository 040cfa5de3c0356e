"""Errors as RFC 9457 problem details, each with a stable code and what to do next."""

from __future__ import annotations

import msgspec

from usance.kernel.errors import (
    Conflict,
    Fenced,
    NotFound,
    Refused,
    Tampered,
    Unavailable,
    Unreadable,
    UsanceError,
)

MEDIA_TYPE = "application/problem+json"

STATUS: tuple[tuple[type[UsanceError], int, str], ...] = (
    (Refused, 422, "Refused"),
    (Conflict, 409, "Out of date"),
    (NotFound, 404, "Not found"),
    (Unreadable, 400, "Unreadable"),
    (Fenced, 503, "Unavailable"),
    (Unavailable, 503, "Unavailable"),
    (Tampered, 500, "Tampered"),
)
"""HTTP code and title of each class of error, most special first."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An event that came after the revision that somebody had looked at."""

    revision: int
    type: str
    sentence: str
    person: str
    instant: int


class Moved(UsanceError):
    """The aggregate does not stand at the revision that the caller looked at."""

    exit_code = 3

    def __init__(self, key: str, looked_at: int, now: int, changed: list[Change]) -> None:
        super().__init__(
            f"{key} stands at revision {now}; you looked at {looked_at}.",
            hint="Look at what changed, and decide on what stands now.",
        )
        self.revision = now
        self.changed = changed


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem as RFC 9457 has it, with rule `code`, its `article`, and the next move (`hint`).

    `changed` is what came after the revision that was looked at; `revision` is the present one.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str = ""
    article: str = ""
    hint: str = ""
    command_id: str = ""
    status_url: str = ""
    revision: int = -1
    changed: list[Change] = []

    def encode(self) -> bytes:
        """Return the body."""
        return msgspec.json.encode(self)


def problem(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    *,
    title: str = "",
    article: str = "",
    kind: str = "problem",
    command_id: str = "",
) -> Problem:
    """Return a problem whose type is `urn:usance:<kind>:<CODE>`."""
    return Problem(
        type=f"urn:usance:{kind}:{code}",
        title=title or code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        article=article,
        hint=hint,
        command_id=command_id,
    )


def problem_of(error: Exception) -> Problem:
    """Return the problem of any error; unknown ones tell nothing of the inside."""
    if isinstance(error, Refused):
        return problem(
            422,
            error.code,
            error.message,
            error.hint,
            title="Refused",
            article=error.article,
            kind="refusal",
        )
    if isinstance(error, Moved):
        told = problem(412, "REVISION_MOVED", error.message, error.hint, title="Changed meanwhile")
        return msgspec.structs.replace(told, revision=error.revision, changed=error.changed)
    for cls, status, title in STATUS:
        if isinstance(error, cls):
            return problem(
                status, cls.__name__.upper(), error.message, _next(error, status), title=title
            )
    if isinstance(error, msgspec.ValidationError):
        return problem(400, "INVALID", str(error), "Correct the field that is named, send again.")
    if isinstance(error, msgspec.DecodeError):
        return problem(400, "MALFORMED", str(error), "Send one JSON object in UTF-8.")
    return problem(
        500,
        "UNEXPECTED",
        "Something failed that should not. What was committed before is kept.",
        "Look at the log of the program; if it happens again, report the time and this address.",
    )


def _next(error: UsanceError, status: int) -> str:
    if error.hint:
        return error.hint
    return {
        404: "Check the identifier; the search box finds references.",
        409: "Reload, look again, and decide on what you see.",
        503: "Nothing was lost: try again in a moment.",
    }.get(status, "Look at the System page.")
