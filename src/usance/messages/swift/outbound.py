"""What we write to other banks beside credits and amendments: MT730 to 756, and free text (799).

Pure: facts in, a `Part` out, to be made a whole message by `fin_text`. Amounts are minor units,
dates YYYY-MM-DD. References of more than 16 characters are shortened so that they stay apart.
"""

from __future__ import annotations

from collections.abc import Iterable

from usance.domain.refusal import disposal_lines, narrative_lines
from usance.kernel.money import Money
from usance.messages.swift.formats import is_bic
from usance.messages.swift.outbound_text import Part, fin_text, plain
from usance.messages.swift.outbound_text import reference as _reference
from usance.messages.swift.values import date_text, money_text, wrap

FREE_LINES = 35


def free_message(
    *, sender: str, receiver: str, reference: str, related: str, narrative: str, mur: str
) -> str:
    """Return a whole MT799; long text fills further fields 79 of the same message."""
    own = _reference(reference)
    lines = wrap(plain(narrative, "x"), 50).split("\n")
    if not lines[0]:
        lines = ["."]
    fields = [("20", own)]
    if related:
        fields.append(("21", _reference(related)))
    fields += [
        ("79", "\n".join(lines[start : start + FREE_LINES]))
        for start in range(0, len(lines), FREE_LINES)
    ]
    return fin_text(Part("799", fields), sender=sender, receiver=receiver, mur=mur)


def acknowledgement(*, own: str, related: str, date: str, words: str) -> Part:
    """Return an MT730: of a credit advised, or of an amendment accepted or rejected.

    `date` is that of the message acknowledged; `words` stand in 79Z.
    """
    fields = [("20", _reference(own)), ("21", _reference(related)), ("30", date_text(date))]
    return Part("730", [*fields, *_note("79Z", words, 35, 50)])


def refusal(
    *,
    own: str,
    related: str,
    date: str,
    money: Money,
    discrepancies: Iterable[str],
    disposal: str,
) -> Part:
    """Return an MT734: the single notice of refusal (UCP 600 article 16c)."""
    return Part(
        "734",
        [
            ("20", _reference(own)),
            ("21", _reference(related)),
            ("32A", date_text(date) + money_text(money)),
            ("77J", "\n".join(narrative_lines(discrepancies))),
            ("77B", "\n".join(disposal_lines(disposal))),
        ],
    )


def discrepancies_advised(
    *, own: str, related: str, money: Money, discrepancies: Iterable[str]
) -> Part:
    """Return an MT750: a nominated bank asks for authority despite discrepancies."""
    lines = narrative_lines(discrepancies, "PLEASE AUTHORISE TAKE-UP DESPITE DISCREPANCIES")
    return Part(
        "750",
        [
            ("20", _reference(own)),
            ("21", _reference(related)),
            ("32B", money_text(money)),
            ("77J", "\n".join(lines)),
        ],
    )


def take_up_authority(*, own: str, related: str, date: str, money: Money, by: str) -> Part:
    """Return an MT752. `by` is how the credit is available; `date` is of the MT750 or mailing."""
    code = {"negotiation": "NEGOTIATE", "acceptance": "ACCEPT"}.get(by, "SEE72Z")
    fields = [
        ("20", _reference(own)),
        ("21", _reference(related)),
        ("23", code),
        ("30", date_text(date)),
        ("32B", money_text(money)),
    ]
    words = "DOCUMENTS MAY BE TAKEN UP AND HONOURED DESPITE DISCREPANCIES"
    return Part("752", fields + (_note("72Z", words, 6, 35) if code == "SEE72Z" else []))


def honour_advice(
    *, own: str, related: str, money: Money, maturity: str, words: str, claimant: str = ""
) -> Part:
    """Return an MT754: a nominated bank paid, accepted or negotiated; `maturity` empty for sight."""
    fields = [("20", _reference(own)), ("21", _reference(related))]
    if maturity:
        fields.append(("32A", date_text(maturity) + money_text(money)))
    else:
        fields.append(("32B", money_text(money)))
    if is_bic(claimant):
        fields.append(("58A", claimant))
    return Part("754", [*fields, *_note("77", words, 20, 35)])


def discharge(*, own: str, related: str, date: str, money: Money, words: str) -> Part:
    """Return an MT732: documents presented under reserve, or of a usance credit, are taken up."""
    fields = [("20", _reference(own)), ("21", _reference(related)), ("30", date_text(date))]
    fields.append(("32B", money_text(money)))
    return Part("732", [*fields, *_note("72Z", words, 6, 35)])


def payment_advice(*, own: str, related: str, date: str, money: Money) -> Part:
    """Return an MT756: what was claimed is paid with value `date`."""
    return Part(
        "756",
        [
            ("20", _reference(own)),
            ("21", _reference(related)),
            ("32B", money_text(money)),
            ("33A", date_text(date) + money_text(money)),
        ],
    )


def _note(tag: str, words: str, lines: int, width: int) -> list[tuple[str, str]]:
    """Return a note of our own wording; it always fits unless a reference within it is absurd."""
    found = [line for line in wrap(plain(words, "x"), width, avoid=":-/").split("\n") if line]
    return [(tag, "\n".join(found[:lines]))] if found else []
