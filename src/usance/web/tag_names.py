"""What the fields of category 7 messages are, in our own short words, for people who read them."""

from __future__ import annotations

_NAMES = {
    "20": "our or the sender's reference", "21": "related reference", "22A": "purpose of the message",
    "23": "further identification", "23S": "request to cancel", "25": "account",
    "26E": "number of the amendment", "27": "place in the sequence", "30": "date",
    "31C": "date of issue", "31D": "expiry, date and place", "32A": "date and amount",
    "32B": "amount", "32D": "charges, dated", "33A": "total paid, dated", "33B": "further amount",
    "34A": "total claimed, dated", "34B": "total claimed", "39A": "tolerance, per cent",
    "39C": "additional amounts", "40A": "form of credit", "40B": "form of credit",
    "40E": "rules that apply", "40F": "rules that apply", "41A": "available with, by",
    "41D": "available with, by", "42A": "drawee", "42C": "drafts at", "42D": "drawee",
    "42M": "mixed payment", "42P": "deferred payment or negotiation", "43P": "partial shipments",
    "43T": "transhipment", "44A": "taken in charge at", "44B": "final destination",
    "44C": "latest shipment", "44D": "shipment period", "44E": "port of loading",
    "44F": "port of discharge", "44I": "trade term", "45A": "goods", "45B": "goods, changed",
    "45H": "tariff code of the goods", "46A": "documents required", "46B": "documents, changed",
    "47A": "further conditions", "47B": "conditions, changed", "48": "days to present",
    "49": "confirmation", "49G": "terms for the beneficiary", "49H": "terms for the receiver",
    "49M": "terms for the beneficiary, changed", "49N": "terms for the receiver, changed",
    "50": "applicant", "50B": "issuer that is no bank", "50N": "applicant, name",
    "50P": "applicant, postcode", "50R": "applicant, country", "50S": "applicant, street",
    "50T": "applicant, town", "59": "beneficiary", "59N": "beneficiary, name",
    "59P": "beneficiary, postcode", "59R": "beneficiary, country", "59S": "beneficiary, street",
    "59T": "beneficiary, town", "71A": "reimbursement charges", "71D": "charges",
    "71N": "charges of the amendment", "72Z": "sender to receiver", "73A": "charges claimed",
    "77": "further text", "77B": "what happens to the documents", "77J": "discrepancies",
    "78": "instructions to the bank", "78D": "instructions from the intermediary",
    "78K": "instructions to the bank", "79": "text", "79Z": "text",
}  # fmt: skip
_BANKS = {
    "51": "applicant's bank", "52": "issuing bank", "53": "reimbursing bank",
    "54": "receiver's correspondent", "57": "advise through", "58": "confirming or requested bank",
}  # fmt: skip


def tag_name(tag: str) -> str:
    """Return what a field is; empty for one that is not known here."""
    return _NAMES.get(tag) or _BANKS.get(tag[:2], "")
