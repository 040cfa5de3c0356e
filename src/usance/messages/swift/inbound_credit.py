"""MT700, 710, 720 and 707 as terms and changes of a credit (all layouts from SR2018 to SR2026).

What has no term of its own is kept as text: nothing of a message is lost. A term that older layouts
lack (44I, 45H) is read from the goods' description where it is plain there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from usance.domain.credit.amendment_messages import ReceiveAmendment, TermsChanges
from usance.domain.credit.messages import ReceiveCredit
from usance.domain.terms import Narrative, Parties, Party, RequiredDocument, Terms
from usance.kernel.money import Money, parse_decimal
from usance.messages.swift.document_words import insured_percent, read_documents
from usance.messages.swift.fin import Message
from usance.messages.swift.inbound_fields import Fields, home, same_bank
from usance.messages.swift.values import (
    Availability,
    read_availability,
    read_coded,
    read_expiry,
    read_institution,
    read_iso_date,
    read_items,
    read_money,
    read_presentation_days,
    read_tolerance,
)

AVAILABLE_BY = {
    "BY PAYMENT": "sight",
    "BY DEF PAYMENT": "deferred",
    "BY ACCEPTANCE": "acceptance",
    "BY NEGOTIATION": "negotiation",
    "BY MIXED PYMT": "mixed",
}
"""41a's codes to the words of the domain."""

TENOR_FROM = {
    "sight": "SIGHT",
    "shipment": "DATE OF SHIPMENT",
    "bl_date": "BILL OF LADING DATE",
    "invoice_date": "INVOICE DATE",
}
"""What a tenor runs from, as 42C and 42P say it."""

APPROXIMATE = "THE AMOUNT OF THIS CREDIT IS APPROXIMATE (ABOUT)"
QUANTITY = "QUANTITY OF GOODS:"
UNIT_PRICE = "UNIT PRICE:"
TRADE_TERM = "TRADE TERM:"
HS_CODE = "HS CODE:"

_TENOR = re.compile(r"\b(\d{1,4})\s*(?:DAYS?|D/S|D/D)\b(.*)", re.DOTALL)
_FROM = (
    ("bl_date", re.compile(r"BILLS? OF LADING|\bB/?L\b|TRANSPORT DOCUMENT")),
    ("invoice_date", re.compile(r"INVOICE")),
    ("shipment", re.compile(r"SHIPMENT|ON BOARD")),
    ("sight", re.compile(r"SIGHT|ACCEPTANCE|PRESENTATION")),
)
_TERM_OF_TRADE = re.compile(
    r"\b(EXW|FCA|FAS|FOB|CFR|CIF|CPT|CIP|DAP|DPU|DDP|DAT)\b[ :,]*([A-Z][A-Z .'-]*)?"
)
_MONEY = re.compile(r"\b([A-Z]{3}) ?([0-9]{1,12}(?:,[0-9]{0,4})?)(?![0-9])")
_QUANTITY = re.compile(rf"^{QUANTITY} (\d{{1,15}}) ?(.*)$", re.MULTILINE)
_OWN_TERM = re.compile(rf"^{TRADE_TERM} ([A-Z]{{3}}) ?(.*)$", re.MULTILINE)
_OWN_HS = re.compile(rf"^{HS_CODE} (.+)$", re.MULTILINE)
_UNIT_PRICE = re.compile(rf"^{UNIT_PRICE} ([A-Z]{{3}})(\d{{1,12}},\d{{0,4}})$", re.MULTILINE)


def receive_credit(
    message: Message, further: Sequence[Message], identity: str, our_bic: str
) -> ReceiveCredit:
    """Return the command that takes in MT700, 710 or 720 with its continuations.

    Raises Unreadable naming the field that cannot be read. `sender_reference` is the number the
    issuing bank gave the credit: field 20 of MT700, 21 of the others.
    """
    fields = Fields(message, further)
    fields.keep("27")
    mt = message.type or ""
    own, credit_number = fields.need(str, "20"), fields.line("21")
    documents = fields.text("46A")
    goods = fields.text("45A")
    issue_date = fields.need(read_iso_date, "31C")
    parties = Parties(
        subject=identity,
        applicant=read_party(fields, "50"),
        beneficiary=read_party(fields, "59"),
    )
    terms = _terms(fields, read_documents(documents), goods)
    terms = _with_banks(terms, fields, message, our_bic)
    return ReceiveCredit(
        credit=identity,
        mt=mt,
        sender=home(message.sender),
        sender_reference=credit_number or own,
        role=role_of(terms, mt, our_bic),
        terms=terms,
        parties=parties,
        narrative=_narrative(fields, identity, goods, documents),
        issue_date=issue_date,
    )


def role_of(terms: Terms, mt: str, our_bic: str) -> str:
    """Return what the credit asks of us: confirm (49, 58a), act as nominated bank (41a), or advise."""
    asked = terms.confirmation in ("CONFIRM", "MAY ADD")
    if asked and (not terms.confirming_bank or same_bank(terms.confirming_bank, our_bic)):
        return "confirming"
    if same_bank(terms.available_with, our_bic):
        return "nominated"
    return "advising" if mt == "700" else "second_advising"


def receive_amendment(
    message: Message, further: Sequence[Message], identity: str
) -> ReceiveAmendment:
    """Return the command that takes in MT707 with its continuations.

    46B changes the list of documents only where it replaces all of them (/REPALL/): additions and
    deletions are kept as text, because they can be applied only by somebody who knows the list.
    """
    fields = Fields(message, further)
    fields.keep("27", "21")
    changed = _changes(fields)
    parties = None
    if fields.has("50", "50N") and fields.has("59", "59N"):
        parties = Parties(
            subject=identity,
            applicant=read_party(fields, "50"),
            beneficiary=read_party(fields, "59"),
        )
    reference = fields.line("23") or fields.need(str, "20")
    fields.keep("20")
    return ReceiveAmendment(
        amendment=fields.need(int, "26E"),
        changes=changed,
        sender=home(message.sender),
        sender_reference=reference,
        parties=parties,
        date=fields.need(read_iso_date, "30"),
        narrative=_narrative(fields, identity, fields.text("45B"), fields.text("46B")),
    )


def read_party(fields: Fields, number: str) -> Party:
    """Return applicant (50) or beneficiary (59), from the group of SR2026 or the older lines."""
    if fields.has(f"{number}N"):
        return Party(
            name=fields.line(f"{number}N"),
            address=fields.line(f"{number}S"),
            town=fields.line(f"{number}T"),
            postcode=fields.line(f"{number}P"),
            country=fields.line(f"{number}R"),
        )
    lines = fields.need(str, number).split("\n")
    account = lines.pop(0)[1:] if lines[0].startswith("/") and len(lines) > 1 else ""
    country = lines.pop() if len(lines) > 2 and re.fullmatch("[A-Z]{2}", lines[-1]) else ""
    return Party(
        name=lines[0], address=", ".join(lines[1:]), country=country, account=account.strip("/")
    )


def _terms(fields: Fields, documents: list[RequiredDocument], goods: str) -> Terms:
    money = fields.need(read_money, "32B")
    tolerance = fields.read(read_tolerance, "39A")
    expiry_date, expiry_place = fields.need(read_expiry, "31D")
    available = _availability(fields)
    tenor_days, tenor_from = _tenor(fields)
    incoterm, incoterm_place = _incoterm(fields, goods)
    quantity, unit, unit_price = _quantities(goods, money)
    form = fields.line("40A") or fields.need(str, "40B").split("\n")[0]
    fields.unread("40B")
    days = _days(fields)
    return Terms(
        form=form,
        rules=fields.line("40E"),
        currency=money.currency,
        amount=money.minor,
        tolerance_plus=tolerance[0] if tolerance else 0,
        tolerance_minus=tolerance[1] if tolerance else 0,
        has_tolerance=tolerance is not None,
        approximate=APPROXIMATE in read_items(fields.text("47A")),
        additional_amount=_additional(fields, money),
        expiry_date=expiry_date,
        expiry_place=" ".join(expiry_place.split()),
        available_with=available.bank,
        available_by=available.by,
        tenor_days=tenor_days,
        tenor_from=tenor_from,
        draft_on=_bank(fields, "42"),
        partial_shipments=fields.line("43P") or "ALLOWED",
        transhipment=fields.line("43T") or "ALLOWED",
        port_of_loading=fields.line("44E"),
        port_of_discharge=fields.line("44F"),
        place_of_receipt=fields.line("44A"),
        final_destination=fields.line("44B"),
        latest_shipment=fields.read(read_iso_date, "44C") or "",
        shipment_period=fields.line("44D"),
        incoterm=incoterm,
        incoterm_place=incoterm_place,
        unit_price=unit_price,
        quantity=quantity,
        quantity_unit=unit,
        hs_code=fields.line("45H") or _hs_code(goods),
        required_documents=documents,
        presentation_days=21 if days is None else days,
        insured_percent=insured_percent(documents) or 110,
        confirmation=fields.line("49") or "WITHOUT",
        transferable="TRANS" in form,
    )


def _with_banks(terms: Terms, fields: Fields, message: Message, our_bic: str) -> Terms:
    issuing = _bank(fields, "52") if message.type != "700" else home(message.sender)
    known = {name: getattr(terms, name) for name in terms.__struct_fields__}
    known |= {
        "confirming_bank": _bank(fields, "58"),
        "reimbursing_bank": _bank(fields, "53"),
        "issuing_bank": issuing,
        "advising_bank": home(message.receiver) or our_bic,
    }
    return Terms(**known)


def _bank(fields: Fields, number: str) -> str:
    """Return a party field's BIC, or its name and address as one line."""
    tag, text = fields.tagged(f"{number}A", f"{number}B", f"{number}D")
    if not tag:
        return ""
    bank = read_institution(tag, text)
    if bank.account:
        fields.unread(tag)
    return " ".join((bank.bic or bank.name).split())


def _days(fields: Fields) -> int | None:
    """Return the days of 48; words behind them are kept for the narrative."""
    found = fields.read(read_presentation_days, "48")
    if found and found[1]:
        fields.unread("48")
    return found[0] if found else None


def _availability(fields: Fields) -> Availability:
    found = fields.need(read_availability, "41A", "41D")
    return Availability(
        bank=" ".join(found.bank.split()), by=AVAILABLE_BY.get(found.by.strip(), found.by)
    )


def _tenor(fields: Fields) -> tuple[int, str]:
    """Return days and base of 42C, 42P or 42M; texts that say more are kept for the narrative."""
    tag = next((t for t in ("42C", "42P", "42M") if fields.has(t)), "")
    if not tag:
        return 0, ""
    words = " ".join("\n".join(fields.peek(tag)).upper().split())
    if words in ("SIGHT", "AT SIGHT"):
        fields.keep(tag)
        return 0, ""
    found = _TENOR.search(words)
    if not found:
        return 0, ""
    base = next((name for name, pattern in _FROM if pattern.search(found[2])), "")
    if words == tenor_text(int(found[1]), base):
        fields.keep(tag)
    return int(found[1]), base


def tenor_text(days: int, base: str) -> str:
    """Return a tenor as 42C and 42P say it, such as `90 DAYS AFTER SIGHT`."""
    if not days:
        return "SIGHT"
    return f"{days} DAYS AFTER {TENOR_FROM.get(base, base)}" if base else f"{days} DAYS"


def _incoterm(fields: Fields, goods: str) -> tuple[str, str]:
    """Return trade term and place of 44I; before SR2026, of the goods' description."""
    code, _, place = fields.text("44I").partition("\n")
    if not code:
        found = _OWN_TERM.search(_items(goods)) or _TERM_OF_TRADE.search(goods)
        code, place = (found[1], found[2] or "") if found else ("", "")
    words, edition, _ = " ".join(place.split()).partition("INCOTERMS")
    if edition:
        fields.unread("44I")
    return code, words.rstrip(" ,(")


def _hs_code(goods: str) -> str:
    """Return the HS code where 45A states it in our own wording (before SR2026)."""
    found = _OWN_HS.search(_items(goods))
    return found[1] if found else ""


def _additional(fields: Fields, money: Money) -> int:
    """Return 39C's amount where the text names just one; other texts are kept for the narrative."""
    if not fields.has("39C"):
        return 0
    words = " ".join("\n".join(fields.peek("39C")).split())
    found = _MONEY.findall(words)
    if len(found) != 1 or found[0][0] != money.currency:
        return 0
    try:
        minor = parse_decimal(found[0][1], money.currency, separator=",")
    except ValueError:
        return 0
    if _MONEY.fullmatch(words):
        fields.keep("39C")
    return minor


def _quantities(goods: str, money: Money) -> tuple[int, str, int]:
    """Return quantity, its unit and the unit price, where 45A states them in our own wording."""
    lines = _items(goods)
    quantity, price = _QUANTITY.search(lines), _UNIT_PRICE.search(lines)
    minor = 0
    if price and price[1] == money.currency:
        try:
            minor = parse_decimal(price[2], money.currency, separator=",")
        except ValueError:
            minor = 0
    return (int(quantity[1]), quantity[2], minor) if quantity else (0, "", minor)


def _items(goods: str) -> str:
    """Return the items of 45A, each as one line."""
    return "\n".join(" ".join(item.split()) for item in read_items(goods))


def _narrative(fields: Fields, identity: str, goods: str, documents: str) -> Narrative:
    """Return the free text; fields that nothing has read stand at the end of what banks tell us."""
    told = fields.text("72Z")
    conditions = fields.text("47A", "47B")
    charges = fields.text("71D")
    instructions = fields.text("78K", "78")
    rest = fields.rest()
    return Narrative(
        subject=identity,
        goods=goods,
        documents=documents,
        conditions=conditions,
        charges=charges,
        bank_instructions=instructions,
        sender_to_receiver="\n".join(text for text in (told, rest) if text),
    )


def _changes(fields: Fields) -> TermsChanges:
    increase, decrease = fields.read(read_money, "32B"), fields.read(read_money, "33B")
    tolerance = fields.read(read_tolerance, "39A")
    expiry = fields.read(read_expiry, "31D")
    available = _availability(fields) if fields.has("41A", "41D") else None
    tenor = _tenor(fields) if fields.has("42C", "42P", "42M") else None
    incoterm = _incoterm(fields, "") if fields.has("44I") else None
    days = _days(fields)
    documents = _replaced(fields)
    return TermsChanges(
        increase=increase.minor if increase else 0,
        decrease=decrease.minor if decrease else 0,
        tolerance_plus=tolerance[0] if tolerance else None,
        tolerance_minus=tolerance[1] if tolerance else None,
        additional_amount=_additional_change(fields, increase or decrease),
        expiry_date=expiry[0] if expiry else None,
        expiry_place=(" ".join(expiry[1].split()) or None) if expiry else None,
        available_with=available.bank if available else None,
        available_by=available.by if available else None,
        tenor_days=tenor[0] if tenor else None,
        tenor_from=tenor[1] if tenor else None,
        draft_on=_bank(fields, "42") or None,
        partial_shipments=fields.line("43P") or None,
        transhipment=fields.line("43T") or None,
        port_of_loading=fields.line("44E") or None,
        port_of_discharge=fields.line("44F") or None,
        place_of_receipt=fields.line("44A") or None,
        final_destination=fields.line("44B") or None,
        latest_shipment=fields.read(read_iso_date, "44C"),
        shipment_period=fields.line("44D") or None,
        incoterm=incoterm[0] if incoterm else None,
        incoterm_place=incoterm[1] if incoterm else None,
        hs_code=fields.line("45H") or None,
        required_documents=documents,
        presentation_days=days,
        insured_percent=insured_percent(documents or ()),
        confirmation=fields.line("49") or None,
        confirming_bank=_bank(fields, "58") or None,
        reimbursing_bank=_bank(fields, "53") or None,
    )


def _additional_change(fields: Fields, money: Money | None) -> int | None:
    """Return 39C's new amount; its currency is the credit's, which 32B or 33B may name."""
    found = _MONEY.match(fields.line("39C")) if fields.has("39C") else None
    if not found or (money and found[1] != money.currency):
        return None
    try:
        return parse_decimal(found[2], found[1], separator=",")
    except ValueError:
        return None


def _replaced(fields: Fields) -> list[RequiredDocument] | None:
    """Return the whole new list of documents where 46B replaces all of it, else None."""
    parts = read_coded("\n".join(fields.peek("46B"))) if fields.has("46B") else []
    codes = [part.code for part in parts]
    # A list that goes on in a continuation is added to what replaced the old one.
    if not codes or codes[0] != "REPALL" or any(code != "ADD" for code in codes[1:]):
        return None
    return read_documents("\n".join(part.text for part in parts))
