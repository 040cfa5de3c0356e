"""Postings balance, mirror what is undrawn, and leave nothing behind."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.posting import (
    ACCEPTANCE_LIABILITY,
    ACCEPTANCES_OUTSTANDING,
    BILLS,
    CONTINGENT,
    CUSTOMER,
    EARMARK,
    LC_LIABILITY,
    LC_OUTSTANDING,
    MARGIN,
    MEMO,
    NOSTRO,
    REAL,
    Balance,
    Posting,
    Voucher,
    amendment_booked,
    balance_of,
    contingent_liability,
    credit_closed,
    credit_issued,
    draft_accepted,
    honoured_at_sight,
    limit_released,
    limit_reserved,
    margin_held,
    open_accounts,
    paid_at_maturity,
    trial_balance,
    unbalanced_journals,
)

VOUCHER = Voucher(journal="J1", credit="TF26LC000001", currency="USD")


def moves(postings: list[Posting]) -> list[tuple[str, str, str, int]]:
    return [(p.book, p.account, p.side, p.amount) for p in postings]


def test_p1_earmarks_the_facility_outside_the_ledger() -> None:
    postings = limit_reserved(VOUCHER, 11_000)
    assert moves(postings) == [(MEMO, EARMARK, "debit", 11_000)]
    assert trial_balance(postings) == {}
    assert open_accounts([*postings, *limit_released(VOUCHER, 11_000)], VOUCHER.credit) == {}


def test_p2_books_the_undertaking_in_the_contingent_book() -> None:
    assert moves(credit_issued(VOUCHER, 11_000)) == [
        (CONTINGENT, LC_LIABILITY, "debit", 11_000),
        (CONTINGENT, LC_OUTSTANDING, "credit", 11_000),
    ]


def test_p8_uses_margin_first_then_the_customer() -> None:
    assert moves(honoured_at_sight(VOUCHER, 1_000, undrawn=11_000, margin=300)) == [
        (CONTINGENT, LC_OUTSTANDING, "debit", 1_000),
        (CONTINGENT, LC_LIABILITY, "credit", 1_000),
        (REAL, BILLS, "debit", 1_000),
        (REAL, NOSTRO, "credit", 1_000),
        (REAL, MARGIN, "debit", 300),
        (REAL, BILLS, "credit", 300),
        (REAL, CUSTOMER, "debit", 700),
        (REAL, BILLS, "credit", 700),
    ]


def test_p8_of_a_waived_over_drawing_reverses_no_more_than_was_undrawn() -> None:
    postings = credit_issued(VOUCHER, 1_000) + honoured_at_sight(VOUCHER, 1_500, undrawn=1_000)
    assert contingent_liability(postings, VOUCHER.credit) == 0
    assert balance_of(postings, VOUCHER.credit, NOSTRO) == -1_500


def test_p7_books_increases_and_accepted_decreases_with_margin() -> None:
    up = amendment_booked(VOUCHER, 500, 50)
    down = amendment_booked(VOUCHER, -500, -50)
    assert {p.rule for p in up + down} == {"P7"}
    assert balance_of(up, VOUCHER.credit, LC_LIABILITY) == 500
    assert balance_of(up, VOUCHER.credit, MARGIN) == -50
    assert set(trial_balance(up + down).values()) == {0}


def test_p10_and_p11_carry_an_acceptance_to_its_payment() -> None:
    accepted = credit_issued(VOUCHER, 1_000) + draft_accepted(VOUCHER, 600, undrawn=1_000)
    assert contingent_liability(accepted, VOUCHER.credit) == 400
    assert balance_of(accepted, VOUCHER.credit, ACCEPTANCE_LIABILITY) == 600
    paid = accepted + paid_at_maturity(VOUCHER, 600)
    assert balance_of(paid, VOUCHER.credit, ACCEPTANCES_OUTSTANDING) == 0
    assert balance_of(paid, VOUCHER.credit, CUSTOMER) == 600
    assert balance_of(paid, VOUCHER.credit, NOSTRO) == -600


def test_amounts_of_nothing_make_no_entries_and_negative_ones_are_mistakes() -> None:
    assert credit_issued(VOUCHER, 0) == margin_held(VOUCHER, 0) == limit_reserved(VOUCHER, 0) == []
    with pytest.raises(AssertionError):
        credit_issued(VOUCHER, -1)


def test_an_unbalanced_journal_is_named() -> None:
    whole = credit_issued(VOUCHER, 100)
    assert unbalanced_journals(whole) == []
    assert unbalanced_journals(whole[:1]) == [("J1", CONTINGENT, "USD")]
    other = msgspec.structs.replace(whole[1], currency="EUR")
    assert len(unbalanced_journals([whole[0], other])) == 2
    moved = msgspec.structs.replace(whole[1], book=REAL)
    assert len(unbalanced_journals([whole[0], moved])) == 2


def test_one_credit_is_told_from_another() -> None:
    other = Voucher(journal="J2", credit="TF26LC000002", currency="EUR")
    postings = credit_issued(VOUCHER, 100) + credit_issued(other, 900)
    assert contingent_liability(postings, VOUCHER.credit) == 100
    assert trial_balance(postings)[Balance(CONTINGENT, LC_LIABILITY, "EUR")] == 900
    assert all(key.currency == "EUR" for key in open_accounts(postings, other.credit))


def test_postings_survive_encoding() -> None:
    postings = honoured_at_sight(VOUCHER, 1_000, undrawn=11_000, margin=300)
    raw = msgspec.json.encode(postings)
    assert msgspec.json.decode(raw, type=list[Posting]) == postings


@dataclass
class Book:
    """A naive model of one credit beside its postings."""

    undrawn: int = 0
    margin: int = 0
    accepted: list[int] = field(default_factory=list)
    earmark: int = 0
    journal: int = 0
    postings: list[Posting] = field(default_factory=list)

    def add(self, entries: list[Posting]) -> None:
        """Keep entries."""
        self.postings += entries

    def voucher(self) -> Voucher:
        """Return a voucher of a new journal."""
        self.journal += 1
        return Voucher(f"J{self.journal}", "TF1", "USD")

    def issue(self, amount: int) -> None:
        """Reserve, issue and take a tenth as margin."""
        voucher = self.voucher()
        self.earmark += amount
        self.undrawn += amount
        self.margin += amount // 10
        self.add(limit_reserved(voucher, amount) + credit_issued(voucher, amount))
        self.add(margin_held(voucher, amount // 10))

    def amend(self, change: int) -> None:
        """Amend, never below what was drawn."""
        change = max(change, -self.undrawn)
        self.undrawn += change
        self.add(amendment_booked(self.voucher(), change))

    def draw(self, amount: int, sight: bool) -> None:
        """Honour or accept a drawing."""
        voucher = self.voucher()
        if sight:
            self.add(honoured_at_sight(voucher, amount, undrawn=self.undrawn, margin=self.margin))
            self.margin -= min(self.margin, amount)
        else:
            self.add(draft_accepted(voucher, amount, undrawn=self.undrawn))
            self.accepted.append(amount)
        self.undrawn -= min(amount, self.undrawn)

    def mature(self) -> None:
        """Pay the oldest acceptance."""
        if self.accepted:
            amount = self.accepted.pop(0)
            self.add(paid_at_maturity(self.voucher(), amount, margin=self.margin))
            self.margin -= min(self.margin, amount)

    def close(self) -> None:
        """Close with whatever is left."""
        self.add(
            credit_closed(
                self.voucher(),
                undrawn=self.undrawn,
                margin=self.margin,
                accepted=sum(self.accepted),
                earmark=self.earmark,
            )
        )


STEP = st.tuples(
    st.sampled_from(["amend up", "amend down", "sight", "accept", "mature"]),
    st.integers(min_value=1, max_value=5_000),
)


@given(st.integers(min_value=1, max_value=10_000), st.lists(STEP, max_size=12))
def test_any_life_of_a_credit_keeps_the_ledger_invariants(
    amount: int, steps: list[tuple[str, int]]
) -> None:
    book = Book()
    book.issue(amount)
    for kind, size in steps:
        if kind.startswith("amend"):
            book.amend(size if kind == "amend up" else -size)
        elif kind == "mature":
            book.mature()
        else:
            book.draw(size, sight=kind == "sight")
        assert unbalanced_journals(book.postings) == []
        assert contingent_liability(book.postings, "TF1") == book.undrawn
        assert balance_of(book.postings, "TF1", ACCEPTANCE_LIABILITY) == sum(book.accepted)
        assert balance_of(book.postings, "TF1", MARGIN) == -book.margin
        assert balance_of(book.postings, "TF1", BILLS) == 0
        assert sum(trial_balance(book.postings).values()) == 0
    book.close()
    assert open_accounts(book.postings, "TF1") == {}
    assert all(posting.amount > 0 for posting in book.postings)
