"""Laws of every decider under any list of commands, sane or not.

Commands are drawn from the message classes themselves; values from pools that hit real states often
enough. Every stream starts from a real situation, so that the walk is not all refusals.
"""

import types
import typing
from collections import Counter

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usance.domain import export as ex
from usance.domain import facility_messages as fm
from usance.domain import message_exchange as mx
from usance.domain import work as wk
from usance.domain.credit import amendment_messages as am
from usance.domain.credit import drawing_messages as dm
from usance.domain.credit import messages as cm
from usance.domain.credit.balances import exposure
from usance.domain.credit.state import OVER
from usance.domain.deciders import CATEGORIES, DECIDERS
from usance.domain.posting import (
    ACCEPTANCE_LIABILITY,
    BILLS,
    LC_LIABILITY,
    MARGIN,
    MEMO,
    balance_of,
    open_accounts,
    trial_balance,
    unbalanced_journals,
)
from usance.domain.presentation import messages as pm
from usance.domain.terms import Drawing, Terms
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import Decision, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerFired, TimerSet
from usance.kernel.words import Words
from usance.testing import trade
from usance.testing.spec import CHECKER, MAKER, SYSTEM, Spec, context_of, spec

MESSAGES = {
    "credit": cm.MESSAGES,
    "presentation": pm.MESSAGES,
    "facility": fm.MESSAGES,
    "message": mx.MESSAGES,
    "work": wk.MESSAGES,
    "export": ex.MESSAGES,
}
KEYS = {
    "credit": trade.CREDIT_KEY,
    "presentation": trade.PRESENTATION_KEY,
    "facility": "albion/facility/F1",
    "message": "albion/message/MUR1",
    "work": "albion/work/examine:albion/presentation/P1",
    "export": f"albion/export/{ex.reference_of(bytes(32))}",
}
WORDS = {
    "credit": ("LC1", "LC2", ""),
    "presentation": ("P1", "P2", "P3"),
    "facility": ("F1",),
    "message": ("MUR1", "LC1A1", "LC1A2", ""),
    "work": ("examine:albion/presentation/P1", "case:albion/case/K1"),
    "pack": (ex.reference_of(bytes(32)), ex.reference_of(bytes(range(32)))),
    "currency": ("USD", "USD", "EUR", "???"),
    "party": ("beneficiary", "confirmer", "applicant"),
    "answer": ("accept", "reject", "accept_in_part", "maybe"),
    "result": ("sent", "acked", "naked", "lost"),
    "method": ("sight", "acceptance", "deferred", "negotiation", "fin", ""),
    "available_by": ("sight", "acceptance", "negotiation", "mixed", "x"),
    "tenor_from": ("sight", "bl_date", "invoice_date", "x"),
    "confirmation": ("WITHOUT", "CONFIRM", "MAY ADD"),
    "role": ("issuing", "confirming", "nominated", "advising", "x"),
    "disposal": ("HOLD", "NOTIFY", "RETURN", "x"),
    "mt": ("700", "734", "x"),
    "partial_shipments": ("ALLOWED", "NOT ALLOWED"),
    "place": ("LONDON", "DUBAI", "NOWHERE"),
    "kind": ("invoice", "bill_of_lading", "insurance", "draft", "x"),
}
DATES = ("2026-12-04", "2027-02-26", "2027-05-31", "0001-01-01", "9999-12-31", "soon", "")
NUMBERS = (0, 1, 2, 3, 40_000_00, 60_000_00, 100_000_00, 130_000_00, -1, 2**62)


def _text(name):
    if name in WORDS:
        return st.sampled_from(WORDS[name])
    dated = "date" in name or name in ("maturity", "presented", "expiry", "latest_shipment")
    return st.sampled_from(DATES if dated else ("", "A", "Ünïcode text", "UCP600-14"))


def _number(name):
    if name == "amendment":
        return st.integers(0, 3)
    if name == "presented_at":
        return st.sampled_from((0, trade.MONDAY - MS_PER_DAY, 2**62, -(2**62)))
    return st.sampled_from(NUMBERS)


def _value(name, kind):
    """Return a strategy for one field of a message."""
    origin = typing.get_origin(kind)
    if kind is Terms:
        return st.one_of(_struct(Terms), st.just(trade.terms()), st.just(trade.terms(amount=1_00)))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(_value(name, one) for one in typing.get_args(kind)))
    if origin is list:
        return st.lists(_value(name, typing.get_args(kind)[0]), max_size=2)
    simple = {
        str: lambda: _text(name),
        int: lambda: _number(name),
        bool: st.booleans,
        bytes: lambda: st.just(bytes(32)),
        type(None): st.none,
    }
    return simple[kind]() if kind in simple else _struct(kind)


_STRUCTS = {}


def _struct(kind):
    if kind not in _STRUCTS:
        hints = typing.get_type_hints(kind)
        fields = {
            name: st.deferred(lambda n=name, t=hint: _value(n, t)) for name, hint in hints.items()
        }
        optional = [f.name for f in msgspec.structs.fields(kind) if not f.required]
        required = {n: s for n, s in fields.items() if n not in optional}
        some = st.fixed_dictionaries(required, optional={n: fields[n] for n in optional})
        _STRUCTS[kind] = some.map(lambda given, k=kind: k(**given))
    return _STRUCTS[kind]


def _commands(category):
    classes = [kind for kind, what in MESSAGES[category] if what == "command"]
    return st.sampled_from(classes).flatmap(_struct)


_EARLY = am.ReceiveAmendment(
    amendment=1,
    changes=am.TermsChanges(increase=20_000_00),
    sender="EXPOHKHHXXX",
    sender_reference="HK123",
)
_ARRIVES = cm.ReceiveCredit(
    **{n: getattr(trade.received().events[0], n) for n in cm.ReceiveCredit.__struct_fields__}
)


def _likely(category):
    """Return commands that often fit the situations below."""
    if category == "credit":
        whole = [
            trade.drawing(), trade.drawing(50_000_00, "P2"), dm.HonourDrawing(presentation="P1", method="sight", amount=60_000_00),
            dm.HonourDrawing(presentation="P1", method="deferred", amount=60_000_00, maturity="2027-04-01"),
            dm.HonourDrawing(presentation="P2", method="acceptance", amount=40_000_00, maturity="2027-04-01"),
            dm.SettleDrawing(presentation="P1"), dm.SettleDrawing(presentation="P2"), dm.ReleaseDrawing(presentation="P1"),
            _EARLY, _ARRIVES, cm.AuthenticateCredit(method="key"), dm.ExpireCredit(), dm.CloseCredit(), dm.CancelCredit(reason=Words(text="x")),
            dm.RespondToCancellation(party="beneficiary", answer="accept"),
            dm.RespondToCancellation(party="confirmer", answer="accept"), cm.VoidIssue(), cm.AddConfirmation(),
            cm.NoteDelivery(message="MUR1", result="naked"), cm.NoteDelivery(message="MUR1", result="sent"),
            am.RequestAmendment(amendment=1, changes=am.TermsChanges(increase=20_000_00)),
            am.RequestAmendment(amendment=2, changes=am.TermsChanges(decrease=70_000_00, expiry_date="2027-04-30")),
            am.IssueAmendment(amendment=1), am.IssueAmendment(amendment=2),
            am.RequestAmendmentApproval(amendment=1), am.RequestAmendmentApproval(amendment=2),
            am.VoidAmendment(amendment=1), am.VoidAmendment(amendment=2, undoes="i2"), cm.NoteDelivery(message="LC1A1", result="acked"),
            *(am.RespondToAmendment(amendment=n, party="beneficiary", answer=a) for n in (1, 2) for a in ("accept", "reject")),
            *(cm.CompleteComplianceCheck(check=f"amendment:{n}") for n in (1, 2)),
            cm.RecordCorrespondence(mt="799", reference="R", kind="free"), cm.CompleteComplianceCheck(check="message:799:R"),
            am.DeemAmendmentAccepted(amendment=1, presentation="P1"), am.DeemAmendmentAccepted(amendment=2, presentation="P2"),
        ]  # fmt: skip
    elif category == "presentation":
        whole = [
            _examination(), _examination(1), pm.HonourPresentation(), pm.AcceptDraft(), pm.IncurDeferred(),
            pm.NegotiatePresentation(), pm.SettlePresentation(), pm.SeekWaiver(), pm.RecordWaiver(waived=True),
            pm.RecordWaiver(waived=False), pm.RefusePresentation(disposal="RETURN"), pm.RefusePresentation(disposal="NOTIFY"),
            pm.ReturnDocuments(), pm.ReferDiscrepancies(), pm.AuthoriseTakeUp(), cm.CompleteComplianceCheck(),
        ]  # fmt: skip
    elif category == "facility":
        whole = [fm.ReserveLimit(credit=c, currency="USD", amount=600) for c in ("LC1", "LC2")]
        whole += [fm.ReleaseReservation(credit="LC1", remaining=n) for n in (0, 100)]
        whole += [
            fm.HoldMargin(credit="LC1", currency="USD", amount=50),
            fm.ReleaseMargin(credit="LC1"),
        ]
        whole += [
            fm.ConsumeReservation(credit="LC1"),
            fm.IncreaseReservation(credit="LC1", amendment=1, currency="USD", amount=300),
            fm.IncreaseReservation(credit="LC1", amendment=2, currency="USD", amount=200),
            fm.ConsumeReservation(credit="LC1", amendment=1),
            fm.ReleaseIncrease(credit="LC1", amendment=2, undoes="i2"),
            fm.ReleaseReservation(credit="LC1", closed=True),
        ]
    else:
        whole = [mx.RecordSent(file="f", sha256="a"), mx.RecordAck(), mx.RecordNak(code="C02")]
    return st.sampled_from(whole)


def _drawn(stream):
    return stream.when(trade.drawing(), SYSTEM).when(trade.drawing(50_000_00, "P2"), SYSTEM)


def _undelivered():
    stream = trade.awaiting(margin_percent=10)
    return stream.when(trade.approval(stream), CHECKER).when(cm.IssueCredit(message="MUR1"), SYSTEM)


def _presented(**changes):
    stream = spec(CATEGORIES["presentation"], trade.PRESENTATION_KEY, instant=trade.MONDAY)
    return stream.when(trade.documents(**changes), SYSTEM)


def _examination(available=10**7, **changes):
    drawing = Drawing(available=available, drawn=0)
    return pm.ExaminePresentation(terms=trade.terms(**changes), drawing=drawing)


_OWED = dm.HonourDrawing(
    presentation="P1", method="deferred", amount=60_000_00, maturity="2027-04-01"
)
SITUATIONS = {
    "credit": (
        lambda: spec(CATEGORIES["credit"], trade.CREDIT_KEY, instant=trade.MONDAY),
        trade.awaiting,
        lambda: trade.issued(margin_percent=15, has_tolerance=True, tolerance_plus=10),
        lambda: trade.amended(trade.issued(), increase=20_000_00),
        lambda: trade.issued(confirmation="CONFIRM", partial_shipments="NOT ALLOWED"),
        lambda: trade.received().when(cm.AuthenticateCredit(method="fin"), SYSTEM),
        lambda: spec(CATEGORIES["credit"], trade.CREDIT_KEY, instant=trade.MONDAY).when(_EARLY, trade.NETWORK),
        lambda: _drawn(trade.issued(margin_percent=15)),
        lambda: _drawn(trade.amended(trade.issued(), decrease=40_000_00)),
        lambda: _drawn(trade.issued()).when(_OWED, SYSTEM),
        lambda: trade.issued(confirmation="CONFIRM").when(dm.CancelCredit(reason=Words(text="x"))),
        lambda: _undelivered().when(cm.RequestVoid(reason=Words(text="x"))),
    ),
    "presentation": (
        lambda: spec(CATEGORIES["presentation"], trade.PRESENTATION_KEY, instant=trade.MONDAY),
        lambda: _presented(),
        lambda: _presented().when(_examination(), MAKER),
        lambda: _presented().when(_examination(available_by="acceptance", tenor_days=30, tenor_from="sight"), MAKER),
        lambda: _presented().when(_examination(available_by="deferred", tenor_days=30, tenor_from="bl_date"), MAKER),
        lambda: _presented().when(_examination(1), SYSTEM),
        lambda: _presented(role="nominated").when(_examination(1, available_by="negotiation"), MAKER),
        lambda: _presented().when(_examination(1), SYSTEM).when(pm.SeekWaiver()),
    ),
    "facility": (
        lambda: spec(CATEGORIES["facility"], KEYS["facility"], instant=trade.MONDAY).when(
            fm.SetFacility(
                facility="F1", customer="c", currency="USD", limit=1000, expiry="2027-12-31", margin_account="m"
            )
        ),
    ),
    "message": (
        lambda: spec(CATEGORIES["message"], KEYS["message"], instant=trade.MONDAY).when(
            mx.QueueMessage(
                message="MUR1", mt="700", receiver="B", credit="LC1", text=mx.FinText(subject="s", text="t")
            )
        ),
    ),
    "work": (lambda: spec(CATEGORIES["work"], KEYS["work"], instant=trade.MONDAY),),
    "export": (lambda: spec(CATEGORIES["export"], KEYS["export"], instant=trade.MONDAY),),
}  # fmt: skip
ACTORS = st.sampled_from((MAKER, CHECKER, SYSTEM, trade.NETWORK))
DAYS = st.sampled_from((0,) * 12 + (1, 7, 120))


def _bound(state, command):
    """Give an approval what it must name, as a person would who looks at the request."""
    if isinstance(command, cm.ApproveCredit) and state.content_hash:
        return trade.approval(types.SimpleNamespace(state=state))
    if isinstance(command, am.ApproveAmendment) and command.amendment in state.amendments:
        line = state.amendments[command.amendment]
        return msgspec.structs.replace(
            command, revision=line.revision, content_hash=line.content_hash
        )
    return command


def _armed(events):
    armed = {}
    for event in events:
        if isinstance(event, TimerSet):
            armed[event.timer_id] = event
        elif isinstance(event, TimerCancelled | TimerFired):
            armed.pop(event.timer_id, None)
    return armed


def _fire_due_timers(stream: Spec):
    """Fire what is due as the owner does; a timer is never refused."""
    for timer in sorted(_armed(stream.events).values(), key=lambda t: t.due):
        if timer.due > stream.instant:
            continue
        due = TimerDue(timer_id=timer.timer_id, due=timer.due, reason=timer.reason)
        context = context_of(stream.key, stream.revision, SYSTEM, stream.instant)
        answer = stream.decider.decide(stream.state, due, context)
        assert isinstance(answer, Decision), answer
        fired = TimerFired(timer_id=timer.timer_id, due=timer.due, late=stream.instant - timer.due)
        stream.given(fired, *answer.events)


def _check(stream: Spec, command, actor):
    """Decide once and again: total, pure, and never a second effect."""
    stream.when(command, actor)
    answer = stream.answer
    if isinstance(answer, Refusal):
        assert answer.code.isupper() and answer.message and answer.hint, answer
        return
    again = stream.decider.decide(
        stream.state, command, context_of(stream.key, stream.revision, actor, stream.instant)
    )
    assert isinstance(again, Refusal) or again.events == (), (command, again)


def _walk(category, data):
    stream = data.draw(st.sampled_from(SITUATIONS[category]))()
    either = st.one_of(_likely(category), _likely(category), _commands(category))
    for command, actor, days in data.draw(
        st.lists(st.tuples(either, ACTORS, DAYS), min_size=4, max_size=16)
    ):
        stream.at(stream.instant + days * MS_PER_DAY)
        _fire_due_timers(stream)
        command = _bound(stream.state, command)
        _check(stream, command, actor)
        if isinstance(command, am.RequestAmendment) and isinstance(stream.answer, Decision):
            _check(stream, trade.checked(command.amendment), SYSTEM)
            _check(stream, am.RequestAmendmentApproval(amendment=command.amendment), SYSTEM)
            approve = am.ApproveAmendment(amendment=command.amendment, revision=0, content_hash="")
            _check(stream, _bound(stream.state, approve), CHECKER if actor == MAKER else MAKER)
    return stream


def _laws_of_replay(stream: Spec, cut: int):
    """A snapshot at any cut, written and read, continues to the very state of a full replay."""
    decider = stream.decider
    state = decider.initial(stream.key)
    kind = type(state)
    for number, event in enumerate(stream.events):
        if number == cut:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=kind)
        before = msgspec.msgpack.encode(state)
        after = decider.evolve(state, event)
        assert msgspec.msgpack.encode(state) == before, f"evolve changed its input: {event}"
        state = after
    assert state == stream.state
    assert set(_armed(stream.events)) == set(getattr(state, "timers", _armed(stream.events)))


WALKS = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("category", ["presentation", "facility", "message", "work"])
@given(data=st.data())
@WALKS
def test_any_commands_are_answered_once_and_replay_to_the_same_state(category, data):
    stream = _walk(category, data)
    _laws_of_replay(stream, data.draw(st.integers(0, len(stream.events))))
    if category == "facility":
        reserved = sum(line.total for line in stream.state.credits.values())
        assert stream.state.reserved == reserved
        entries = [p for e in stream.events for p in getattr(e, "postings", [])]
        assert {p.book for p in entries} <= {MEMO}
        assert sum(p.signed for p in entries) == reserved
    if category == "presentation":
        kinds = Counter(type(event) for event in stream.events)
        assert kinds[pm.PresentationRefused] <= 1
        taken_up = (pm.PresentationHonoured, pm.DraftAccepted, pm.DeferredUndertakingIncurred)
        assert sum(kinds[kind] for kind in taken_up) + kinds[pm.PresentationNegotiated] <= 1


@given(data=st.data())
@settings(WALKS, max_examples=400)
def test_any_commands_leave_a_credit_balanced_and_its_postings_equal_to_its_balances(data):
    stream = _walk("credit", data)
    _laws_of_replay(stream, data.draw(st.integers(0, len(stream.events))))
    state = stream.state
    entries = [p for e in stream.events for p in getattr(e, "postings", [])]
    assert unbalanced_journals(entries) == []
    assert sum(trial_balance(entries).values()) == 0
    assert balance_of(entries, "LC1", LC_LIABILITY) == state.undrawn >= 0
    assert balance_of(entries, "LC1", ACCEPTANCE_LIABILITY) == state.owed >= 0
    assert balance_of(entries, "LC1", MARGIN) == -state.margin <= 0
    assert balance_of(entries, "LC1", BILLS) == 0
    if state.books and state.state in ("ISSUED", "PARTLY_DRAWN", "FULLY_DRAWN", "EXPIRED"):
        assert state.undrawn == exposure(state)
    if state.state in (*OVER, "VOIDED"):
        assert open_accounts(entries, "LC1") == {}
    journals = {p.journal: e for e in stream.events for p in getattr(e, "postings", [])}
    for journal, event in journals.items():
        assert stream.events[int(journal.partition("#")[2]) - 1] is event, "journal names its event"


@given(data=st.data())
@settings(WALKS, max_examples=3)
def test_every_command_class_is_known_to_its_decider(data):
    assert {decider.category for decider in DECIDERS} == set(MESSAGES)
    commands = [
        (c, kind) for c, all_of in MESSAGES.items() for kind, what in all_of if what == "command"
    ]
    for category, kind in commands:
        decider, key = CATEGORIES[category], KEYS[category]
        context = context_of(key, 0, MAKER, trade.MONDAY)
        answer = decider.decide(decider.initial(key), data.draw(_struct(kind)), context)
        assert not isinstance(answer, Refusal) or answer.code != "UNKNOWN_COMMAND", kind
