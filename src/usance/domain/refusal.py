"""The notice of refusal (UCP 600 article 16): one, in time, complete, or none at all."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

import msgspec

from usance.domain.examination.facts import DISCREPANT
from usance.domain.terms import Finding
from usance.kernel.decider import Deadline, Refusal

DISPOSALS = {
    "HOLD": "DOCUMENTS HELD PENDING YOUR INSTRUCTIONS",
    "NOTIFY": "DOCUMENTS HELD UNTIL A WAIVER IS ACCEPTED OR YOU INSTRUCT US",
    "RETURN": "DOCUMENTS BEING RETURNED TO YOU",
    "PREVINST": "ACTING ON YOUR EARLIER INSTRUCTIONS",
}
"""What may happen to the documents (article 16c-iii), by the code of MT734 field 77B."""

STATEMENT = "WE REFUSE TO HONOUR OR NEGOTIATE"
"""The statement without which a notice is no refusal (article 16c-i)."""

LINE, LINES = 50, 70
"""Width and number of lines of field 77J."""

_FOREIGN = re.compile(r"[^A-Z0-9 .,()/='+:?!\"%&*<>;@#_-]")
"""What the character set of 77J (z, of FIN) lacks; braces left out, they end blocks."""


class RefusalNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A valid notice of refusal; constructing an invalid one raises ValueError.

    `given` and `due` are ms UTC; each discrepancy is one sentence; `disposal` a key of DISPOSALS.
    """

    discrepancies: list[str]
    disposal: str
    given: int
    due: int
    calendar: str
    calendar_version: str
    statement: str = STATEMENT

    def __post_init__(self) -> None:
        """Hold the notice to article 16."""
        if not self.statement.strip():
            raise ValueError("A notice of refusal must state that the bank refuses.")
        flaw = _flaw(self.discrepancies, self.disposal, self.given, self.due)
        if flaw:
            raise ValueError(flaw.message)


def narrative_lines(discrepancies: Iterable[str], statement: str = STATEMENT) -> list[str]:
    """Return the lines of field 77J: the statement, then each discrepancy, numbered and wrapped."""
    lines = [statement]
    for number, text in enumerate(discrepancies, 1):
        plain = _FOREIGN.sub("?", text.upper())
        lines += textwrap.wrap(f"/DISCREP/{number}. {plain}", LINE, subsequent_indent="//")
    return lines


def disposal_lines(disposal: str) -> list[str]:
    """Return the lines of field 77B, 35 characters wide, starting with the code."""
    return textwrap.wrap(f"/{disposal}/{DISPOSALS[disposal]}", 35, subsequent_indent="//")


def _flaw(discrepancies: list[str], disposal: str, given: int, due: int) -> Refusal | None:
    """Return why a notice would be invalid."""
    if not discrepancies or not all(text.strip() for text in discrepancies):
        return Refusal(
            "REFUSAL_WITHOUT_DISCREPANCY",
            "A notice of refusal must state each discrepancy.",
            "UCP600-16c-ii",
            "Examine the documents first, or determine that they comply.",
        )
    if disposal not in DISPOSALS:
        return Refusal(
            "REFUSAL_WITHOUT_DISPOSAL",
            "A notice of refusal must say what happens to the documents.",
            "UCP600-16c-iii",
            f"Choose exactly one of {', '.join(DISPOSALS)}.",
        )
    if given > due:
        return Refusal(
            "REFUSAL_PRECLUDED",
            "The time to refuse has passed, so the documents count as complying.",
            "UCP600-16f",
            "Honour the presentation.",
        )
    if len(narrative_lines(discrepancies)) > LINES:
        return Refusal(
            "REFUSAL_TOO_LONG",
            f"The discrepancies do not fit the {LINES} lines of the one notice allowed.",
            "UCP600-16c",
            "Word the discrepancies more briefly.",
        )
    return None


def refuse(
    findings: Iterable[Finding],
    disposal: str,
    *,
    instant: int,
    deadline: Deadline,
    notice_given: bool = False,
) -> RefusalNotice | Refusal:
    """Return the single notice of refusal of a presentation, or why there can be none.

    Every discrepant finding is stated, those of human examiners included; no other finding is.
    `deadline` is the examination deadline recorded with the presentation, `notice_given` whether
    a notice went out before.
    """
    if notice_given:
        return Refusal(
            "REFUSAL_ALREADY_GIVEN",
            "A notice of refusal was given before, and only a single notice counts.",
            "UCP600-16c",
            "Nothing more can be refused under this presentation.",
        )
    stated = [finding.explanation for finding in findings if finding.verdict == DISCREPANT]
    flaw = _flaw(stated, disposal, instant, deadline.due)
    if flaw:
        return flaw
    return RefusalNotice(
        discrepancies=stated,
        disposal=disposal,
        given=instant,
        due=deadline.due,
        calendar=deadline.calendar,
        calendar_version=deadline.calendar_version,
    )
