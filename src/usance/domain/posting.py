"""Postings of the trade book: balanced entries per journal, book and currency.

The contingent book holds undertakings, the real book money; they never net. The memo book holds a
facility's earmarks, single-sided and outside the general ledger. Rules P1 to P16 name the business facts.
"""

from __future__ import annotations

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
