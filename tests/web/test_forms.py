"""Forms become commands: amounts, nesting, lists, and nothing that a person could not have meant."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.credit.amendment_messages import RequestAmendment
from usance.domain.facility_messages import SetFacility
from usance.domain.presentation.messages import PresentDocuments
from usance.kernel.errors import Unreadable, UsanceError
from usance.kernel.money import CURRENCIES, format_minor
from usance.web.forms import amount, command_of

FACILITY = {"facility": "F1", "customer": "c", "currency": "JPY", "expiry": "2027-12-31"}


def test_an_amount_takes_its_decimals_from_the_currency_another_field_names():
    made = command_of(SetFacility, FACILITY | {"limit~currency": "1,500,000"})
    assert made.limit == 1_500_000
    made = command_of(SetFacility, FACILITY | {"currency": "USD", "limit~currency": "1,500.5"})
    assert made.limit == 1_500_50


def test_more_decimals_than_the_currency_has_are_refused_with_the_field_named():
    with pytest.raises(Unreadable, match="limit"):
        command_of(SetFacility, FACILITY | {"limit~currency": "10.50"})


def test_numbered_names_become_a_list_in_order_and_empty_rows_vanish():
    fields = {
        "presentation": "P1", "credit": "C1", "presenter": "X", "currency": "USD",
        "amount~USD": "10", "documents.2.kind": "invoice", "documents.10.kind": "draft",
        "documents.3.kind": "", "documents.3.reference": " ",
    }  # fmt: skip
    made = command_of(PresentDocuments, fields)
    assert [d.kind for d in made.documents] == ["invoice", "draft"]


def test_an_empty_field_leaves_a_term_as_it_is():
    fields = {"amendment": "2", "changes.increase~USD": "", "changes.expiry_date": "2027-03-01"}
    made = command_of(RequestAmendment, fields)
    assert (made.amendment, made.changes.increase) == (2, 0)
    assert (made.changes.expiry_date, made.changes.latest_shipment) == ("2027-03-01", None)


def test_a_repeated_field_comes_only_where_its_neighbours_are():
    fields = {"amendment": "1", "changes.increase~USD": "1", "narrative.subject@reason": "1"}
    assert command_of(RequestAmendment, fields | {"reason": "p1"}).narrative is None
    with_text = command_of(RequestAmendment, fields | {"reason": "p1", "narrative.goods": "TEAK"})
    assert (with_text.narrative.subject, with_text.narrative.goods) == ("p1", "TEAK")


@pytest.mark.parametrize(
    "fields", [{"a.b": "1", "a": "2"}, {"a": "2", "a.b": "1"}, {"..": "1"}, {"a.b.c.d.e.f.g": "1"}]
)
def test_names_that_contradict_each_other_are_refused(fields):
    with pytest.raises((UsanceError, msgspec.ValidationError)):
        command_of(SetFacility, fields)


@given(minor=st.integers(0, 10**15), currency=st.sampled_from(sorted(CURRENCIES)))
def test_an_amount_reads_back_as_it_is_shown(minor, currency):
    assert amount(format_minor(minor, currency), currency) == minor


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=8))
def test_no_fields_fail_otherwise_than_by_saying_what_is_wrong(fields):
    try:
        command_of(SetFacility, fields)
    except (UsanceError, msgspec.ValidationError) as error:
        assert str(error)
