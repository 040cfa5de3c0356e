"""FIN messages of other banks as commands: what arrives, and which stream it is addressed to.

References follow the layouts of category 7. A message of an advising or nominated bank names our
credit in field 21 (730, 742, 750, 754). One of an issuing bank is about a credit that came to us:
such a credit is kept under `<sender's BIC8>-<the number it sent, field 20>`. MT752 answers our
MT750 and names our presentation in 21: it is the authority to take up; without that it is filed
with the credit. 732, 734 and 756 are filed with the credit of field 20 and name our presentation
(21). MT799 goes to the credit that 21 names, or to the sender's own (20). References that nobody
knows are addressed all the same: the decider refuses them.

Network validation: a message is turned away when a mandatory field is missing or a field that a
command needs cannot be read; the reason names codes and tags, never values. Lesser breaches of the
format are accepted and noted, because the sender is bound by what it sent all the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from usance.domain.credit.messages import MessageText, RecordAdvice, RecordCorrespondence
from usance.domain.message_exchange import RecordAck, RecordNak
from usance.domain.presentation.messages import AuthoriseTakeUp
from usance.kernel.errors import Unreadable
from usance.messages.swift.acks import Acknowledgement, read_acknowledgement
from usance.messages.swift.fin import MESSAGE_LIMIT, Message, parse, split
from usance.messages.swift.findings import Finding
from usance.messages.swift.inbound_credit import receive_amendment, receive_credit
from usance.messages.swift.inbound_fields import (
    Fields,
    block_text,
    check_parts,
    home,
    same_bank,
    unreadable,
)
from usance.messages.swift.validation import validate
from usance.messages.swift.values import read_dated_money, read_iso_date

PARTS_MAX = 8
"""A message and its continuations (field 27 counts to eight)."""

CONTINUED_BY = {"700": "701", "707": "708", "710": "711", "720": "721"}
"""Message types and those that carry on their text."""

RELEASES = ("SR2026", "SR2025", "SR2018")
"""Releases in whose layouts a message may come; the one it breaks least is taken."""

NO_REFERENCE = ("", "NONREF")


class Inbound(NamedTuple):
    """One message understood: `category` and `identity` make its key, `name` its command id.

    `notes` are breaches of the format that were let pass, as `code tag`; no values.
    """

    category: str
    identity: str
    command: Any
    name: str
    sender: str
    notes: tuple[str, ...] = ()


def split_messages(data: bytes) -> list[bytes]:
    """Cut FIN bytes into inputs: a message, with the continuations that follow it."""
    inputs: list[bytes] = []
    open_type = ""
    for piece in split(data):
        kind = _type_of(piece)
        if inputs and open_type and kind == CONTINUED_BY.get(open_type):
            inputs[-1] += piece
        else:
            inputs.append(piece)
            open_type = kind
    return inputs


def read_inbound(data: bytes, our_bic: str) -> Inbound:
    """Return what a message (with its continuations) means to us.

    Raises Unreadable: stage `parse` for bytes that are no FIN, `validate` for the rest.
    """
    if len(data) > MESSAGE_LIMIT:
        raise Unreadable("parse", "message is too long", hint="ask the sender to split it")
    pieces = split(data)
    if not pieces or len(pieces) > PARTS_MAX:
        raise Unreadable("parse", "no message, or more parts than a message can have", hint="split")
    message, *further = [parse(piece) for piece in pieces]
    answer = read_acknowledgement(message)
    if answer is not None and not further:
        return _answer(answer)
    kind = message.type or ""
    if any(part.type != CONTINUED_BY.get(kind) for part in further):
        raise unreadable("several messages in one input", "hand them in one by one")
    handler = _HANDLERS.get(kind)
    if handler is None:
        raise unreadable(f"{_name(kind)} is not taken in here", _hint(kind))
    notes = tuple(note for part in (message, *further) for note in _check(part))
    if message.receiver and not same_bank(message.receiver, our_bic):
        notes = (*notes, "receiver 2")
    check_parts(message, further)
    category, identity, command = handler(message, further, our_bic)
    name = _command_name(message, further)
    return Inbound(category, identity, command, name, home(message.sender), notes)


def credit_identity(sender: str, number: str) -> str:
    """Return the identity of a credit that another bank sent: `<its BIC8>-<its number>`."""
    return f"{sender[:8]}-{number}"


def _type_of(piece: bytes) -> str:
    found = re.match(rb"[\s$\x01\x03]*\{1:[^{}]*\}\s*\{2:[IO](\d{3})", piece[:400])
    return found[1].decode() if found else ""


def _name(kind: str) -> str:
    return f"MT{kind}" if kind else "a service message other than ACK and NAK"


def _hint(kind: str) -> str:
    main = next((main for main, more in CONTINUED_BY.items() if more == kind), "")
    if main:
        return f"hand it in behind its MT{main}, in one file"
    return "file it by hand with the credit it is about"


def _check(message: Message) -> list[str]:
    """Return breaches that may pass, as code and tag; raises Unreadable on a missing field."""
    found = min((_findings(message, release) for release in RELEASES), key=_weight)
    missing = [f for f in found if f.rule.startswith("mandatory-")]
    if missing:
        tags = ", ".join(sorted({f.tag or "" for f in missing}))
        raise unreadable(f"T13: MT{message.type} lacks mandatory fields: {tags}")
    return [f"{f.code or f.rule} {f.tag or ''}".strip() for f in found]


def _findings(message: Message, release: str) -> list[Finding]:
    return [f for f in validate(message, release) if f.rule != "layout"]


def _weight(findings: list[Finding]) -> tuple[int, int]:
    return sum(f.rule.startswith("mandatory-") for f in findings), len(findings)


def _command_name(message: Message, further: Sequence[Message]) -> str:
    """Return what makes this message the same as another: sender, type, and its references.

    730 and 799 are sent several times under one reference, so their text counts too.
    """
    tags = ("20", "21", "26E", "30")
    parts = [home(message.sender), message.type or "", *(message.value(tag) or "" for tag in tags)]
    if message.type in ("730", "799"):
        parts.append(hashlib.sha256(block_text(message, further).encode()).hexdigest())
    return "\x1f".join(parts)


Addressed = tuple[str, str, Any]


def _answer(answer: Acknowledgement) -> Inbound:
    if not answer.mur:
        raise unreadable(
            "108: the answer does not say which message it answers",
            "let the interface return block 3's reference (MUR) with ACK and NAK",
        )
    command: RecordAck | RecordNak
    if answer.accepted:
        command = RecordAck(reference=answer.session + answer.sequence)
    else:
        command = RecordNak(code=answer.error_code or "unknown", line=answer.error_line or 0)
    told = (answer.mur, answer.lt, answer.session, answer.sequence, answer.stamp)
    name = "\x1f".join((*told, "ACK" if answer.accepted else "NAK"))
    return Inbound("message", answer.mur, command, name, "")


def _credit(message: Message, further: Sequence[Message], our_bic: str) -> Addressed:
    identity = credit_identity(message.sender, message.value("20") or "")
    return "credit", identity, receive_credit(message, further, identity, our_bic)


def _amendment(message: Message, further: Sequence[Message], _our_bic: str) -> Addressed:
    """Address by the issuing bank's number (23), or the sender's own (20) where it passes it on."""
    passed_on = message.value("52A", "52D", "50B", "50E") is not None and not same_bank(
        message.value("52A") or "", message.sender
    )
    number = message.value("20") if passed_on else (message.value("23") or message.value("20"))
    identity = credit_identity(message.sender, number or "")
    if message.value("23S") == "CANCEL":
        return _filed("cancellation", identity, message)
    return "credit", identity, receive_amendment(message, further, identity)


def _advice(message: Message, _further: Sequence[Message], _our_bic: str) -> Addressed:
    """An acknowledgement of a credit; one that speaks of an amendment is filed with its words."""
    fields = Fields(message)
    identity, words = fields.need(str, "21"), f"{fields.text('72Z')}\n{fields.text('79Z')}".upper()
    if "AMENDMENT" in words:
        return _filed("acknowledgement", identity, message)
    confirmed = re.search(r"(?:ADDED|ADDING) OUR CONFIRMATION|CONFIRMATION ADDED", words)
    command = RecordAdvice(
        reference=fields.need(str, "20"),
        sender=home(message.sender),
        date=fields.need(read_iso_date, "30"),
        confirmed=confirmed is not None,
        acknowledges=identity,
    )
    return "credit", identity, command


def _take_up(message: Message, _further: Sequence[Message], _our_bic: str) -> Addressed:
    number, presentation = message.value("20") or "", message.value("21") or ""
    if presentation in NO_REFERENCE:
        return _filed("authority", credit_identity(message.sender, number), message)
    command = AuthoriseTakeUp(reference=number, by=home(message.sender))
    return "presentation", presentation, command


def _to_issuer(kind: str) -> Callable[[Message, Sequence[Message], str], Addressed]:
    """File what an advising or nominated bank writes: 21 is our credit's number."""

    def handle(message: Message, _further: Sequence[Message], _our_bic: str) -> Addressed:
        fields = Fields(message)
        return _filed(kind, fields.need(str, "21"), message, fields.line("20"))

    return handle


def _from_issuer(kind: str) -> Callable[[Message, Sequence[Message], str], Addressed]:
    """File what an issuing bank writes: 20 is its credit's number, 21 our presentation."""

    def handle(message: Message, _further: Sequence[Message], _our_bic: str) -> Addressed:
        fields = Fields(message)
        identity = credit_identity(message.sender, fields.need(str, "20"))
        presentation = fields.line("21")
        return _filed(kind, identity, message, "" if presentation in NO_REFERENCE else presentation)

    return handle


def _claim(message: Message, _further: Sequence[Message], our_bic: str) -> Addressed:
    """A claim for reimbursement names the issuing bank (52a): us, or one that we reimburse for."""
    issuer = (message.value("52A") or "").split("\n")[-1]
    number = message.value("21") or ""
    ours = not issuer or same_bank(issuer, our_bic)
    return _filed("claim", number if ours else credit_identity(issuer, number), message)


def _free(message: Message, _further: Sequence[Message], _our_bic: str) -> Addressed:
    related = message.value("21") or ""
    if related in NO_REFERENCE:
        related = credit_identity(message.sender, message.value("20") or "")
    return _filed("free", related, message)


def _filed(kind: str, identity: str, message: Message, presentation: str = "") -> Addressed:
    fields = Fields(message)
    dated = fields.read(read_dated_money, *_AMOUNTS.get(message.type or "", ()))
    date, money = dated or ("", None)
    reference = fields.need(str, "20")
    if message.type in ("730", "799"):
        # The ledger of a credit files each reference once, and these come again under the same one.
        reference += "#" + hashlib.sha256(block_text(message).encode()).hexdigest()[:8]
    command = RecordCorrespondence(
        mt=message.type or "",
        reference=reference,
        kind=kind,
        sender=home(message.sender),
        presentation=presentation,
        currency=money.currency if money else "",
        amount=money.minor if money else 0,
        date=date or fields.read(read_iso_date, "30") or "",
        text=MessageText(subject=identity, text=block_text(message)),
    )
    return "credit", identity, command


_AMOUNTS: dict[str, tuple[str, ...]] = {
    "732": ("32B",),
    "734": ("32A",),
    "740": ("32B",),
    "742": ("32B",),
    "750": ("32B",),
    "752": ("32B",),
    "754": ("32A", "32B"),
    "756": ("33A",),
}
"""The field that holds the amount a message is about."""

_HANDLERS: dict[str, Callable[[Message, Sequence[Message], str], Addressed]] = {
    "700": _credit,
    "707": _amendment,
    "710": _credit,
    "720": _credit,
    "730": _advice,
    "732": _from_issuer("discharge"),
    "734": _from_issuer("refusal"),
    "740": _from_issuer("reimbursement_authority"),
    "742": _claim,
    "750": _to_issuer("discrepancies"),
    "752": _take_up,
    "754": _to_issuer("honour_advice"),
    "756": _from_issuer("payment"),
    "799": _free,
}
