"""MT700 with MT701, MT707 with MT708, MT740 of credits we issue; MT710 with MT711 of those we pass on."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from usance.domain.credit.amendment_messages import TermsChanges
from usance.domain.credit.balances import with_changes
from usance.domain.terms import Narrative, Parties, Party, RequiredDocument, Terms
from usance.kernel.errors import Refused
from usance.kernel.money import Money
from usance.messages.swift.codes import COUNTRIES, FORMS, RULES
from usance.messages.swift.document_words import document_text, read_documents
from usance.messages.swift.formats import is_bic
from usance.messages.swift.inbound_credit import (
    APPROXIMATE,
    AVAILABLE_BY,
    HS_CODE,
    QUANTITY,
    TENOR_FROM,
    TRADE_TERM,
    UNIT_PRICE,
    tenor_text,
)
from usance.messages.swift.layouts import CURRENT, year_of
from usance.messages.swift.outbound_text import (
    Draft,
    Fields,
    Part,
    change_lines,
    in_order,
    line_of,
    narrative_lines,
    parts_of,
    plain,
    reference,
)
from usance.messages.swift.values import date_text, money_text, wrap

_CODES = {by: code for code, by in AVAILABLE_BY.items()}


def issue(
    *,
    credit: str,
    terms: Terms,
    parties: Parties,
    narrative: Narrative | None,
    issue_date: str,
    release: str = CURRENT,
) -> list[Part]:
    """Return the MT700 of a credit and the MT701s that go on with it.

    Dates are YYYY-MM-DD. Raises Refused("PARTY_INCOMPLETE") where the release demands a part of an
    address that is not known, and Refused("FIN_TOO_LONG").
    """
    text = narrative or Narrative(subject=parties.subject)
    draft = Draft()
    draft.put("20", reference(credit))
    draft.put("40A", form_of(terms))
    parts = _whole(draft, terms, parties, text, issue_date, release)
    return parts_of("700", "701", parts.fields, ("20",), parts.narratives, release)


def advise_on(
    *,
    own: str,
    credit: str,
    issuer: str,
    terms: Terms,
    parties: Parties,
    narrative: Narrative | None,
    issue_date: str,
    confirmed: bool = False,
    release: str = CURRENT,
) -> list[Part]:
    """Return the MT710 by which a credit is advised through another bank, and the MT711s that go on with it.

    `own` is our number, `credit` the issuing bank's (`issuer`, a BIC or a name). What the issuing bank said
    to us alone (72Z) stays here. Errors as `issue`.
    """
    text = narrative or Narrative(subject=parties.subject)
    draft = Draft()
    draft.put("20", reference(own))
    draft.put("21", reference(credit))
    ours = "ADDING OUR CONFIRMATION" if confirmed else "WITHOUT OUR CONFIRMATION"
    draft.put("40B", f"{form_of(terms)}\n{ours}")
    draft.party("52", issuer)
    text = msgspec.structs.replace(text, sender_to_receiver="")
    parts = _whole(draft, terms, parties, text, issue_date, release)
    return parts_of("710", "711", parts.fields, ("20", "21"), parts.narratives, release)


class _Whole(NamedTuple):
    """The fields of a credit's message, and the narratives that may go on in others."""

    fields: Fields
    narratives: list[tuple[str, list[str]]]


def _whole(
    draft: Draft, terms: Terms, parties: Parties, text: Narrative, issue_date: str, release: str
) -> _Whole:
    """Add what every message that states a whole credit has; `draft` holds its references and form."""
    draft.put("31C", date_text(issue_date))
    draft.put("40E", _rules(terms))
    terms_fields(draft, terms, release)
    party_fields(draft, "50", parties.applicant, release)
    party_fields(draft, "59", parties.beneficiary, release)
    _short(draft, "71D", text.charges, 6, 35)
    private = Draft()
    instructions, lines, width = ("78K", 30, 65) if year_of(release) >= 2026 else ("78", 12, 65)
    charset = "z" if instructions == "78K" else "x"
    private.text(instructions, text.bank_instructions, lines, width, charset=charset)
    _short(private, "72Z", text.sender_to_receiver, 6, 35)
    narratives = [
        ("45A", narrative_lines(text.goods, _goods(terms, release))),
        ("46A", _documents(text.documents, terms)),
        ("47A", narrative_lines(text.conditions, [*_conditions(terms), *draft.more])),
        # 49H is for banks alone: what overflows there must not reach the beneficiary.
        ("49H", narrative_lines("", private.more)),
    ]
    return _Whole(draft.fields + private.fields, narratives)


def amend(
    *,
    credit: str,
    receiver_reference: str,
    amendment: int,
    changes: TermsChanges,
    terms: Terms,
    issue_date: str,
    date: str,
    parties: Parties | None = None,
    narrative: Narrative | None = None,
    reason: str = "",
    release: str = CURRENT,
) -> list[Part]:
    """Return the MT707 of an amendment and the MT708s that go on with it.

    `terms` are those in force before it. Narratives whose lines bear no code are additions.
    """
    draft = Draft()
    for tag, value in (
        ("20", reference(credit)),
        ("21", reference(receiver_reference)),
        ("23", reference(credit)),
        ("31C", date_text(issue_date)),
        ("26E", f"{amendment % 1000:03d}"),
        ("30", date_text(date)),
        ("22A", "ISSU"),
    ):
        draft.put(tag, value)
    _amounts(draft, changes, terms.currency)
    after = with_changes(terms, changes)
    everything = Draft()
    terms_fields(everything, after, release)
    wanted = _touched(changes)
    draft.fields += [field for field in everything.fields if field[0] in wanted]
    if parties is not None:
        party_fields(draft, "50", parties.applicant, release)
        party_fields(draft, "59", parties.beneficiary, release)
    text = narrative or Narrative(subject="")
    _short(draft, "71D", text.charges, 6, 35)
    told = "\n".join(t for t in (text.sender_to_receiver, reason) if t)
    _short(draft, "72Z", told or _nothing(draft, changes, text), 6, 35)
    if text.bank_instructions:
        tag = "78K" if year_of(release) >= 2026 else "78"
        draft.text(tag, text.bank_instructions, 30 if tag == "78K" else 12, 65)
    goods = [item for item in _goods(after, release) if _goods_changed(item, changes)]
    narratives = [
        ("45B", change_lines(text.goods, goods)),
        ("46B", _document_changes(text.documents, changes, after)),
        ("47B", change_lines(text.conditions, [*_unfielded(changes), *draft.more])),
    ]
    return parts_of(
        "707", "708", draft.fields, ("20", "21", "23", "26E", "30"), narratives, release
    )


def reimbursement(*, credit: str, terms: Terms, release: str = CURRENT) -> Part:
    """Return the MT740 that authorises the reimbursing bank to honour claims under a credit."""
    draft = Draft()
    draft.put("20", reference(credit))
    draft.put("40F", "URR LATEST VERSION" if "URR" in terms.rules else "NOTURR")
    everything = Draft()
    terms_fields(everything, terms, release)
    wanted = ("31D", "32B", "39A", "39C", "41A", "41D", "42C", "42A", "42D", "42M", "42P")
    draft.fields += [field for field in everything.fields if field[0] in wanted]
    if is_bic(terms.available_with):
        draft.put("58A", terms.available_with)
    draft.put("71A", "OUR")
    return Part("740", in_order("740", draft.fields, release))


def form_of(terms: Terms) -> str:
    """Return 40A."""
    if terms.form in FORMS and not terms.transferable:
        return terms.form
    return "IRREVOCABLE TRANSFERABLE" if terms.transferable else "IRREVOCABLE"


def terms_fields(draft: Draft, terms: Terms, release: str = CURRENT) -> None:
    """Add the fields of the terms: amounts, expiry, availability, tenor, shipment, banks."""
    place = line_of(terms.expiry_place)
    draft.put("31D", date_text(terms.expiry_date) + place[:29].rstrip())
    if len(place) > 29:
        draft.more.append(f"PLACE OF EXPIRY IN FULL: {place}")
    draft.put("32B", money_text(Money(terms.currency, terms.amount)))
    if terms.has_tolerance:
        _tolerance(draft, terms)
    if terms.additional_amount:
        draft.put("39C", money_text(Money(terms.currency, terms.additional_amount)))
    _available(draft, terms)
    draft.put("43P", terms.partial_shipments)
    draft.put("43T", terms.transhipment)
    _shipment(draft, terms, release)
    draft.put("48", f"{min(terms.presentation_days, 999)}")
    draft.put("49", terms.confirmation)
    draft.party("58", terms.confirming_bank)
    draft.party("53", terms.reimbursing_bank)


def party_fields(draft: Draft, number: str, party: Party, release: str = CURRENT) -> None:
    """Add applicant (50) or beneficiary (59), as a group from SR2026 on, as lines before.

    Raises Refused("PARTY_INCOMPLETE") when the group lacks name or country, which no bank may make up.
    """
    who = "APPLICANT" if number == "50" else "BENEFICIARY"
    if year_of(release) < 2026:
        account = line_of(party.account)[:34]
        head = f"/{account}\n" if account and number == "59" else ""
        town = " ".join(f"{party.town} {party.postcode}".split())
        lines = Draft()
        words = f"{party.name}\n{party.address}\n{town}\n{party.country}"
        lines.text(number, words, 4, 35, name=who)
        draft.fields += [(number, head + value) for _, value in lines.fields]
        draft.more += lines.more
        return
    country = party.country.strip().upper()
    if not line_of(party.name) or country not in COUNTRIES:
        raise Refused(
            "PARTY_INCOMPLETE",
            f"the {who.lower()} lacks a name or a country code",
            hint="Give both: the message has mandatory fields for them.",
        )
    draft.text(f"{number}N", party.name, 4, 35, charset="z", name=f"{who} NAME")
    address = party.address if line_of(party.address) else "NOT STATED"
    draft.text(f"{number}S", address, 4, 35, charset="z", name=f"{who} ADDRESS")
    town = party.town if line_of(party.town) else "NOT STATED"
    draft.text(f"{number}T", town, 1, 35, charset="z", name=f"{who} TOWN")
    draft.text(f"{number}P", party.postcode, 1, 16, charset="z", name=f"{who} POST CODE")
    draft.put(f"{number}R", country)
    if party.account and number == "59":
        draft.more.append(f"ACCOUNT OF BENEFICIARY: {line_of(party.account)}")


def _rules(terms: Terms) -> str:
    if terms.rules in RULES:
        return terms.rules
    return f"OTHR/{line_of(terms.rules)[:35]}"


def _tolerance(draft: Draft, terms: Terms) -> None:
    plus, minus = terms.tolerance_plus, terms.tolerance_minus
    if max(plus, minus) < 100:
        draft.put("39A", f"{plus:02d}/{minus:02d}")
    else:
        draft.more.append(f"TOLERANCE OF THE AMOUNT: PLUS {plus} PCT, MINUS {minus} PCT")


def _available(draft: Draft, terms: Terms) -> None:
    by = _CODES.get(terms.available_by, "BY MIXED PYMT")
    if is_bic(terms.available_with):
        draft.put("41A", f"{terms.available_with}\n{by}")
    else:
        words = Draft()
        words.text("41D", terms.available_with or "ANY BANK", 4, 35, name="AVAILABLE WITH")
        draft.more += words.more
        draft.put("41D", f"{words.fields[0][1]}\n{by}")
    known = terms.tenor_from in TENOR_FROM
    tenor = tenor_text(terms.tenor_days, terms.tenor_from if known else line_of(terms.tenor_from))
    if terms.draft_on:
        draft.text("42C", tenor, 3, 35)
        draft.party("42", terms.draft_on)
    elif terms.tenor_days:
        draft.text("42M" if terms.available_by == "mixed" else "42P", tenor, 4, 35)


def _shipment(draft: Draft, terms: Terms, release: str) -> None:
    for tag, place in (
        ("44A", terms.place_of_receipt),
        ("44E", terms.port_of_loading),
        ("44F", terms.port_of_discharge),
        ("44B", terms.final_destination),
    ):
        # Before SR2026 receivers may hold these to one line of 65.
        lines, width = (2, 70) if year_of(release) >= 2026 else (1, 65)
        draft.text(tag, place, lines, width, charset="z")
    if terms.latest_shipment:
        draft.put("44C", date_text(terms.latest_shipment))
        if terms.shipment_period:
            draft.more.append(f"SHIPMENT PERIOD: {line_of(terms.shipment_period)}")
    else:
        draft.text("44D", terms.shipment_period, 6, 65)
    if year_of(release) >= 2026:
        if terms.incoterm:
            lines_of_place = wrap(line_of(terms.incoterm_place, "z"), 70).split("\n")
            code = terms.incoterm[:3].upper()
            draft.put("44I", "\n".join([code, *filter(None, lines_of_place[:2])]))
            if len(lines_of_place) > 2:
                draft.more.append(f"PLACE OF TRADE TERM IN FULL: {terms.incoterm_place}")
        draft.text("45H", terms.hs_code, 1, 65)


def _goods(terms: Terms, release: str) -> list[str]:
    """Return what of the goods is a term and has no field of its own."""
    items = []
    if terms.quantity:
        items.append(f"{QUANTITY} {terms.quantity} {terms.quantity_unit}")
    if terms.unit_price:
        items.append(f"{UNIT_PRICE} {money_text(Money(terms.currency, terms.unit_price))}")
    if year_of(release) < 2026:
        if terms.incoterm:
            items.append(f"{TRADE_TERM} {terms.incoterm} {terms.incoterm_place}")
        if terms.hs_code:
            items.append(f"{HS_CODE} {terms.hs_code}")
    return items


def _goods_changed(item: str, changes: TermsChanges) -> bool:
    return any(
        item.startswith(word) and change is not None
        for word, change in (
            (QUANTITY, changes.quantity),
            (UNIT_PRICE, changes.unit_price),
            (TRADE_TERM, changes.incoterm),
            (HS_CODE, changes.hs_code),
        )
    )


def _documents(text: str, terms: Terms) -> list[str]:
    """Return 46A: the applicant's words, and every required document that they do not name."""
    named = read_documents(plain(text))
    missing = []
    for document in terms.required_documents:
        words = next((one for one in named if _covers(one, document)), None)
        if words:
            named.remove(words)
        else:
            missing.append(document_text(document, terms.insured_percent))
    return narrative_lines(text, missing)


def _covers(words: RequiredDocument, document: RequiredDocument) -> bool:
    """Tell whether the applicant's words call for at least what the terms call for."""
    return (
        words.kind == document.kind
        and words.originals >= document.originals
        and words.copies >= document.copies
        and words.full_set >= document.full_set
    )


def _conditions(terms: Terms) -> list[str]:
    return [APPROXIMATE] if terms.approximate else []


def _short(draft: Draft, tag: str, text: str, lines: int, width: int) -> None:
    """Add 71D or 72Z: lines that bear codes stay as they are, others never look like codes."""
    words = plain(text)
    found = [
        piece
        for line in words.split("\n")
        for piece in wrap(line, width, avoid=":-" if _is_coded(line, tag) else ":-/").split("\n")
        if piece
    ]
    if found:
        draft.put(tag, "\n".join(found[:lines]))
    if len(found) > lines:
        draft.more.append(f"FIELD {tag} IN FULL: {line_of(text, 'z')}")


def _is_coded(line: str, tag: str) -> bool:
    return tag == "72Z" and re.match(r"/[A-Z0-9]{1,8}/", line) is not None and len(line) <= 35


def _amounts(draft: Draft, changes: TermsChanges, currency: str) -> None:
    """Add 32B or 33B: the layout allows one of them, so both become their balance."""
    change = changes.increase - changes.decrease
    if change:
        draft.put("32B" if change > 0 else "33B", money_text(Money(currency, abs(change))))


_GROUPS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("tolerance_plus", "tolerance_minus"), ("39A",)),
    (("additional_amount",), ("39C",)),
    (("expiry_date", "expiry_place"), ("31D",)),
    (("available_with", "available_by"), ("41A", "41D")),
    (("tenor_days", "tenor_from", "draft_on"), ("42C", "42A", "42D", "42M", "42P")),
    (("partial_shipments",), ("43P",)),
    (("transhipment",), ("43T",)),
    (("port_of_loading",), ("44E",)),
    (("port_of_discharge",), ("44F",)),
    (("place_of_receipt",), ("44A",)),
    (("final_destination",), ("44B",)),
    (("latest_shipment", "shipment_period"), ("44C", "44D")),
    (("incoterm", "incoterm_place"), ("44I",)),
    (("hs_code",), ("45H",)),
    (("presentation_days",), ("48",)),
    (("confirmation",), ("49",)),
    (("confirming_bank",), ("58A", "58D")),
    (("reimbursing_bank",), ("53A", "53D")),
)
"""Which changes touch which fields; a field states all of its terms as they are afterwards."""


def _touched(changes: TermsChanges) -> set[str]:
    return {
        tag
        for names, tags in _GROUPS
        if any(getattr(changes, name) is not None for name in names)
        for tag in tags
    }


def _unfielded(changes: TermsChanges) -> list[str]:
    """Return changes that MT707 has no field for, in words."""
    if changes.insured_percent is None or changes.required_documents is not None:
        return []
    return [f"INSURANCE IS TO COVER {changes.insured_percent} PCT OF CIF OR CIP VALUE"]


def _document_changes(text: str, changes: TermsChanges, after: Terms) -> list[str]:
    """Return 46B: the whole new list where there is one, else the words as additions."""
    if changes.required_documents is None:
        return change_lines(text, [])
    documents = changes.required_documents
    items = [document_text(document, after.insured_percent) for document in documents]
    return change_lines("", items or ["NO DOCUMENTS"], code="REPALL")


def _nothing(draft: Draft, changes: TermsChanges, text: Narrative) -> str:
    """Return words for an amendment that changes no field; the layout demands one after 22A."""
    fixed = {"20", "21", "23", "31C", "26E", "30", "22A"}
    said = text.goods or text.documents or text.conditions or text.charges
    changed = changes.required_documents is not None or changes.quantity or changes.unit_price
    if said or changed or any(tag not in fixed for tag, _ in draft.fields):
        return ""
    return "NO FIELD CHANGES"
