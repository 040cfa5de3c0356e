"""Postings of the trade book: balanced entries per journal, book and currency.

The contingent book holds undertakings, the real book money; they never net. The memo book holds a
facility's earmarks, single-sided and outside the general ledger. P1 to P16 name the business facts.
Margin is held in the currency of its credit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

CONTINGENT = "contingent"
REAL = "real"
MEMO = "memo"
DEBIT = "debit"
CREDIT = "credit"

EARMARK = "facility_earmark"
LC_LIABILITY = "customers_liability_lc"
LC_OUTSTANDING = "lc_outstanding"
ACCEPTANCE_LIABILITY = "customers_liability_acceptances"
ACCEPTANCES_OUTSTANDING = "acceptances_outstanding"
BILLS = "bills_under_lc"
MARGIN = "margin_deposit"
CUSTOMER = "customer"
NOSTRO = "nostro"

SETTLEMENT_ACCOUNTS = frozenset({CUSTOMER, NOSTRO})
"""Accounts of others: they outlive the credit, so they need not return to zero when it closes."""


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: `amount` (minor units, above zero) on the `side` debit or credit of an account.

    `journal` groups the entries of one fact and is unique to it; `rule` is P1 to P16; `book` is
    contingent, real or memo; `credit` is the reference of the credit it belongs to.
    """

    journal: str
    rule: str
    book: str
    account: str
    side: str
    currency: str
    amount: int
    credit: str

    @property
    def signed(self) -> int:
        """The amount, debits above zero and credits below."""
        return self.amount if self.side == DEBIT else -self.amount


class Voucher(NamedTuple):
    """What the entries of one fact share: unique journal, credit reference and currency."""

    journal: str
    credit: str
    currency: str

    def entry(self, rule: str, book: str, account: str, side: str, amount: int) -> Posting:
        """Return one entry."""
        return Posting(
            journal=self.journal,
            rule=rule,
            book=book,
            account=account,
            side=side,
            currency=self.currency,
            amount=amount,
            credit=self.credit,
        )

    def pair(self, rule: str, book: str, debit: str, credit: str, amount: int) -> list[Posting]:
        """Return a debit and a credit of one amount; nothing when it is zero."""
        assert amount >= 0, "amounts are never negative: swap the accounts"
        if not amount:
            return []
        return [
            self.entry(rule, book, debit, DEBIT, amount),
            self.entry(rule, book, credit, CREDIT, amount),
        ]


def limit_reserved(voucher: Voucher, amount: int, *, rule: str = "P1") -> list[Posting]:
    """P1: earmark the facility; a memo entry, no general ledger."""
    return [voucher.entry(rule, MEMO, EARMARK, DEBIT, amount)] if amount else []


def limit_released(voucher: Voucher, amount: int, *, rule: str = "P1") -> list[Posting]:
    """Undo P1, in whole or in part."""
    return [voucher.entry(rule, MEMO, EARMARK, CREDIT, amount)] if amount else []


def credit_issued(voucher: Voucher, liability: int, *, rule: str = "P2") -> list[Posting]:
    """P2: the customer owes us what we undertake; `liability` includes the plus tolerance."""
    return voucher.pair(rule, CONTINGENT, LC_LIABILITY, LC_OUTSTANDING, liability)


def _liability_reversed(voucher: Voucher, amount: int, rule: str) -> list[Posting]:
    return voucher.pair(rule, CONTINGENT, LC_OUTSTANDING, LC_LIABILITY, amount)


def margin_held(voucher: Voucher, margin: int, *, rule: str = "P3") -> list[Posting]:
    """P3: cash margin moves from the customer's account to a deposit we owe."""
    return voucher.pair(rule, REAL, CUSTOMER, MARGIN, margin)


def margin_returned(voucher: Voucher, margin: int, *, rule: str = "P16") -> list[Posting]:
    """Give margin back to the customer."""
    return voucher.pair(rule, REAL, MARGIN, CUSTOMER, margin)


def amendment_booked(
    voucher: Voucher, liability_change: int, margin_change: int = 0
) -> list[Posting]:
    """P7: book the change of liability and margin.

    An increase binds us when issued; a decrease is booked only when the beneficiary accepts it.
    """
    book = credit_issued if liability_change > 0 else _decrease
    hold = margin_held if margin_change > 0 else margin_returned
    return [
        *book(voucher, abs(liability_change), rule="P7"),
        *hold(voucher, abs(margin_change), rule="P7"),
    ]


def _decrease(voucher: Voucher, amount: int, *, rule: str) -> list[Posting]:
    return _liability_reversed(voucher, amount, rule)


def _collected(voucher: Voucher, rule: str, amount: int, margin: int) -> list[Posting]:
    """Take an amount from the margin first, the rest from the customer, for bills under LC."""
    from_margin = min(amount, margin)
    return [
        *voucher.pair(rule, REAL, MARGIN, BILLS, from_margin),
        *voucher.pair(rule, REAL, CUSTOMER, BILLS, amount - from_margin),
    ]


def honoured_at_sight(
    voucher: Voucher, amount: int, *, undrawn: int, margin: int = 0
) -> list[Posting]:
    """P8: pay a sight drawing and collect it from margin, then customer.

    `undrawn` and `margin` are the contingent liability and the margin before the drawing; of an
    over-drawing that was waived, only what was undrawn is reversed.
    """
    return [
        *_liability_reversed(voucher, min(amount, undrawn), "P8"),
        *voucher.pair("P8", REAL, BILLS, NOSTRO, amount),
        *_collected(voucher, "P8", amount, margin),
    ]


def draft_accepted(voucher: Voucher, amount: int, *, undrawn: int) -> list[Posting]:
    """P10: a drawing becomes an acceptance (or a deferred payment undertaking)."""
    return [
        *_liability_reversed(voucher, min(amount, undrawn), "P10"),
        *voucher.pair("P10", CONTINGENT, ACCEPTANCE_LIABILITY, ACCEPTANCES_OUTSTANDING, amount),
    ]


def _acceptance_reversed(voucher: Voucher, amount: int, rule: str) -> list[Posting]:
    return voucher.pair(rule, CONTINGENT, ACCEPTANCES_OUTSTANDING, ACCEPTANCE_LIABILITY, amount)


def paid_at_maturity(voucher: Voucher, amount: int, *, margin: int = 0) -> list[Posting]:
    """P11: an acceptance falls due, is paid and collected from margin, then customer."""
    return [
        *_acceptance_reversed(voucher, amount, "P11"),
        *voucher.pair("P11", REAL, BILLS, NOSTRO, amount),
        *_collected(voucher, "P11", amount, margin),
    ]


def credit_closed(
    voucher: Voucher, *, undrawn: int, margin: int = 0, accepted: int = 0, earmark: int = 0
) -> list[Posting]:
    """P16: reverse what is left of P1, P2, P3, P10 when a credit expires, closes or is cancelled.

    `accepted` is above zero only where an acceptance lapses with the credit: one that matures later
    must be paid first.
    """
    return [
        *_liability_reversed(voucher, undrawn, "P16"),
        *_acceptance_reversed(voucher, accepted, "P16"),
        *margin_returned(voucher, margin),
        *limit_released(voucher, earmark, rule="P16"),
    ]


class Balance(NamedTuple):
    """The key of a balance in the trial balance."""

    book: str
    account: str
    currency: str


def trial_balance(postings: Iterable[Posting]) -> dict[Balance, int]:
    """Return each account's balance (debits above zero), memo entries left out."""
    balances: dict[Balance, int] = defaultdict(int)
    for posting in postings:
        if posting.book != MEMO:
            key = Balance(posting.book, posting.account, posting.currency)
            balances[key] += posting.signed
    return dict(balances)


def unbalanced_journals(postings: Iterable[Posting]) -> list[tuple[str, str, str]]:
    """Return each (journal, book, currency) whose debits and credits differ."""
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for posting in postings:
        if posting.book != MEMO:
            sums[posting.journal, posting.book, posting.currency] += posting.signed
    return sorted(key for key, total in sums.items() if total)


def balance_of(postings: Iterable[Posting], credit: str, account: str) -> int:
    """Return one account's balance for one credit, debits above zero."""
    return sum(p.signed for p in postings if p.credit == credit and p.account == account)


def open_accounts(postings: Iterable[Posting], credit: str) -> dict[Balance, int]:
    """Return a credit's balances that are not zero: none may be left when it is closed.

    The customer's and the correspondent's accounts are left out: they are not the credit's own.
    """
    own = (p for p in postings if p.credit == credit and p.account not in SETTLEMENT_ACCOUNTS)
    balances: dict[Balance, int] = defaultdict(int)
    for posting in own:
        balances[Balance(posting.book, posting.account, posting.currency)] += posting.signed
    return {key: total for key, total in balances.items() if total}


def contingent_liability(postings: Iterable[Posting], credit: str) -> int:
    """Return what a credit's contingent book says may still be drawn: its undrawn max liability."""
    return balance_of(postings, credit, LC_LIABILITY)
