"""The table of roles: closed by default, complete, and in force where commands are decided."""

from __future__ import annotations

import pytest

from usance.bootstrap.store import all_deciders
from usance.domain.guards import tier_of
from usance.kernel.authority import AUTHORITY, GLASS, PARTS, role_missing, tier_missing
from usance.kernel.decider import Actor, Context, Refusal, key_of
from usance.messages import catalogue
from usance.messages.inputs import INTERNAL, commands

ROLES = frozenset().union(*AUTHORITY.values()) - PARTS - {GLASS}


def _context(role: str, category: str) -> Context:
    actor = Actor("p-1", "p-1", role)
    return Context(key_of("t", category, "X"), 0, 1_800_000_000_000, "t", actor, "c", "", "")


def test_every_command_of_the_program_has_a_row() -> None:
    named = {e.cls.__name__ for e in catalogue.default().types() if e.kind == "command"}
    assert named - set(AUTHORITY) == set()


def test_what_the_program_says_to_itself_is_for_no_person() -> None:
    for act in INTERNAL & set(AUTHORITY):
        if act != "ReleaseReservation":  # a checker gives back what a stuck saga left
            assert not AUTHORITY[act] & ROLES, act


def test_what_people_may_say_somebody_may_do() -> None:
    program = {"ValidateApplication", "RequestApproval", "RequestAmendmentApproval", "IssueCredit",
               "IssueAmendment", "ExpireCredit"}  # fmt: skip
    for act in set(commands()) - program:
        assert AUTHORITY[act] - PARTS, act


BROKEN_GLASS = {"BreakGlass", "CloseGlass", "ReviewGlass"}
"""Acts about acting beyond one's role; what may be done there has tests of its own."""


def test_an_auditor_takes_packs_out_looks_on_record_and_does_nothing_else() -> None:
    acts = {act for act, roles in AUTHORITY.items() if "auditor" in roles} - BROKEN_GLASS
    assert acts == {"ExportPack", "RecordReveal"}


@pytest.mark.parametrize("role", ["", "admin", "sysadmin", "MAKER", "gateway "])
def test_a_role_outside_the_table_may_do_nothing(role: str) -> None:
    for act in AUTHORITY:
        assert role_missing(Actor("p", "p", role), act) is not None, act


def test_an_act_outside_the_table_is_for_nobody_but_the_engine() -> None:
    for role in ROLES | (PARTS - {"system"}):
        assert role_missing(Actor("p", "p", role), "NoSuchAct") is not None
    assert role_missing(Actor("engine", "", "system"), "NoSuchAct") is None


def test_the_engineer_never_acts_on_business() -> None:
    business = {a for a, roles in AUTHORITY.items() if "engineer" in roles} - BROKEN_GLASS
    assert business == {
        "RetryStep", "SkipStep", "MarkDoneOutside", "CompensateSaga", "ApproveAct", "RejectAct",
        "Discard", "Redrive", "Release", "Reread", "ClaimWork", "ReleaseWork", "TurnKey", "ApproveTurn",
        "AdoptKeys",
    }  # fmt: skip


SHARED = (
    *("ClaimWork", "ReleaseWork", "ExportPack", "RecordReveal", "ApproveErasure"),
    *("TurnKey", "ApproveTurn", "AdoptKeys"),
)
"""What neither decides a case nor a credit."""


def test_trade_never_disposes_of_a_case_and_compliance_never_of_a_credit() -> None:
    for act, roles in AUTHORITY.items():
        compliance = roles & {"compliance", "compliance_officer"}
        if compliance and act not in (*SHARED, *BROKEN_GLASS):
            assert roles <= {"compliance", "compliance_officer"}, act


def test_the_deciders_of_the_program_stand_behind_the_table() -> None:
    """Each decider, asked by each role, refuses whatever the table does not give that role."""
    deciders = all_deciders()
    for entry in catalogue.default().types():
        if entry.kind != "command" or entry.cls.__name__ not in commands():
            continue
        try:
            command = entry.cls(**{f: _filler(entry.cls, f) for f in entry.cls.__struct_fields__})
        except TypeError:
            continue
        for category, decider in deciders.items():
            for role in ("auditor", "engineer", "maker", "checker"):
                missing = role_missing(Actor("p-1", "p-1", role), entry.cls.__name__)
                if missing is None:
                    continue
                context = _context(role, category)
                said = decider.decide(decider.initial(context.key), command, context)
                assert isinstance(said, Refusal), (category, entry.cls, role)
                assert said.code in ("ROLE_NEEDED", "SELF_APPROVAL")


def _filler(cls: type, field: str) -> object:
    default = dict(zip(cls.__struct_fields__[::-1], cls.__struct_defaults__[::-1]))  # type: ignore[attr-defined]  # noqa: B905
    found = default.get(field, "")
    return found if isinstance(found, (str, int, bool)) else ""


@pytest.mark.parametrize(
    ("amount", "currency", "tier"),
    [
        (999_999_99, "USD", "standard"), (1_000_000_00, "USD", "senior"),
        (149_999_999, "JPY", "standard"), (150_000_000, "JPY", "senior"),
        (299_999_999, "KWD", "standard"), (300_000_000, "KWD", "senior"),
    ],
)  # fmt: skip
def test_the_senior_tier_begins_at_about_a_million_dollars(
    amount: int, currency: str, tier: str
) -> None:
    assert tier_of(amount, currency) == tier


def test_the_senior_tier_needs_a_senior_checker() -> None:
    assert tier_missing(Actor("p", "p", "checker"), "senior").code == "TIER_NEEDED"  # type: ignore[union-attr]
    assert tier_missing(Actor("p", "p", "senior_checker"), "senior") is None
    assert tier_missing(Actor("p", "p", "checker"), "standard") is None
