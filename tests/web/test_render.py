"""How amounts, dates, deadlines and addresses are written."""

from __future__ import annotations

import pytest

from usance.domain.calendars import calendar
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR, parse_instant
from usance.kernel.errors import Refused
from usance.web.app import make_server
from usance.web.commands import command_types
from usance.web.guard import is_loopback
from usance.web.render import (
    basis,
    cause,
    day,
    deadline,
    environment,
    identifier,
    label,
    link,
    money,
    words,
)
from usance.web.site import local

MONDAY = parse_instant("2026-11-30T10:30:00Z")


def test_minor_units_follow_the_currency():
    assert "JPY</abbr> 15,000" in money(15_000, "JPY")
    assert "KWD</abbr> 15.000" in money(15_000, "KWD")
    assert "USD</abbr> -150.00" in money(-15_000, "USD")


def test_dates_are_words_and_text_that_is_no_date_stays():
    assert day("2026-11-27") == "27 Nov 2026"
    assert day("2026-11-27", weekday=True) == "Fri 27 Nov 2026"
    assert day("ANY DAY") == "ANY DAY"


def test_a_deadline_counts_banking_days_of_its_own_calendar():
    due = calendar("GBLON").examination_deadline(MONDAY).due
    shown = deadline(due, MONDAY, "GBLON")
    assert (shown.words, shown.tone) == ("5 banking days left", "calm")
    assert deadline(due, due - MS_PER_HOUR, "GBLON").words == "today"
    assert deadline(due, due - 3 * MS_PER_DAY, "GBLON").words == "1 banking day left"
    assert deadline(due, due - 3 * MS_PER_DAY, "GBLON").tone == "late"
    missed = deadline(due, due + 1, "GBLON")
    assert missed.tone == "late" and "over" in missed.words and "Missed" in missed.title


def test_markup_of_hostile_text_is_escaped():
    for made in (link("albion/credit/<b>"), identifier('"><script>'), link("<i>")):
        assert "<b>" not in made and "<script>" not in made and "<i>" not in made
    page = environment().from_string("{{ x }}").render(x="<b>")
    assert page == "&lt;b&gt;"


def test_codes_become_words_and_basis_points_per_cent():
    assert words("IN_PROCESS") == "in process" and words("creditIssued") == "credit issued"
    assert basis(9050) == "90.5 %" and basis(-1000) == "−10 %"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8400", "[::1]:8400", "[::1]"])
def test_loopback_names_pass_the_door(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "evil", "127.0.0.1.evil.com", "localhost:x", "127.0.0.1:80:80"]
)
def test_other_names_do_not(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "usance.bank.example"])
def test_the_server_refuses_to_listen_anywhere_but_on_the_loopback(host):
    with pytest.raises(Refused, match="loopback"):
        make_server(None, host)


def test_a_way_back_stays_within_the_console():
    assert local("/credits?side=import") == "/credits?side=import"
    assert local("//evil") == local("https://evil") == local("/\\evil") == local("") == "/"


def test_every_command_that_may_be_sent_has_an_aggregate_and_an_identity_that_exists():
    kinds = command_types()
    assert {"ApplyForCredit", "RefusePresentation", "Redrive", "ApproveAct"} <= set(kinds)
    for kind in kinds.values():
        assert kind.category
        assert not kind.identity or kind.identity in kind.cls.__struct_fields__


def test_codes_become_names_of_facts_and_abbreviations_stay():
    assert [label(t) for t in ("hs_code", "SHA-256", "IN_PROCESS", "")] == [
        "HS code",
        "SHA-256",
        "In process",
        "",
    ]


def test_a_cause_is_an_arrow_from_an_event_a_saga_or_whoever_said_it() -> None:
    assert 'href="/events/e-1"' in cause("event:e-1")
    assert 'href="/sagas/' in cause("saga:albion/saga/issuance:LC1")
    assert "← the gateway" in cause("intake:usance.trade.intake/3/14")
    assert cause("") == "" and cause("unheard of") == ""
    assert "<b>" not in cause("event:<b>")
