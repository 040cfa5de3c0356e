"""Read models against real deciders on a real log: rows equal the fold of events, whatever happens."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from views_world import CHECKER, COMPLIANCE, MAKER, World

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import drawing_messages as dm
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import ReserveLimit, SetFacility
from usance.domain.posting import Balance, trial_balance
from usance.domain.presentation import messages as pm
from usance.domain.tolerance import max_liability
from usance.kernel.decider import Actor, Denied, Erased
from usance.kernel.words import Words
from usance.messages.catalogue import default
from usance.testing import trade
from usance.views import PROJECTIONS, sentences
from usance.views.asking import flat
from usance.views.book import derived

CREDIT = "albion/credit/LC1"
PRESENTATION = "albion/presentation/P1"
FACILITY = "albion/facility/F1"
SAGA = Actor("saga:issuance", "", "system")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def issue(world: World) -> None:
    world.send(CREDIT, trade.application())
    for command in (cm.ValidateApplication(), cm.BeginComplianceCheck()):
        world.send(CREDIT, command, SAGA)
    world.send(CREDIT, cm.CompleteComplianceCheck(), SAGA)
    world.do(CREDIT, cm.RequestApproval(), SAGA)
    waiting = world.queries.approvals(CHECKER)[0]
    approve = cm.ApproveCredit(revision=waiting.revision, content_hash=waiting.content_hash)
    world.do(CREDIT, approve, CHECKER)
    world.do(CREDIT, cm.IssueCredit(message="MUR1"), SAGA)


def fold(world: World, key: str) -> Any:
    decider = world.deciders[key.split("/")[1]]
    state = decider.initial(key)
    for stream, event in world.events():
        if stream == key:
            state = decider.evolve(state, event)
    return state


COMMANDS: list[tuple[str, Any, Actor]] = [
    (CREDIT, trade.application(), MAKER),
    (CREDIT, cm.ValidateApplication(), SAGA),
    (CREDIT, cm.BeginComplianceCheck(), SAGA),
    (CREDIT, cm.CompleteComplianceCheck(), SAGA),
    (CREDIT, cm.RequestApproval(), SAGA),
    (CREDIT, "approve", CHECKER),
    (CREDIT, cm.IssueCredit(message="MUR1"), SAGA),
    (CREDIT, cm.NoteDelivery(message="MUR1", result="acked"), SAGA),
    (CREDIT, am.RequestAmendment(amendment=1, changes=am.TermsChanges(increase=500)), MAKER),
    (CREDIT, trade.drawing(), SAGA),
    (CREDIT, dm.HonourDrawing(presentation="P1", method="sight", amount=60_000_00), SAGA),
    (CREDIT, cm.RejectCredit(reason=Words(text="changed mind")), CHECKER),
    (PRESENTATION, trade.documents(), MAKER),
    (
        PRESENTATION,
        pm.RaiseDiscrepancy(article="UCP600-14d", explanation=Words(text="The weights differ.")),
        MAKER,
    ),
    (PRESENTATION, pm.SeekWaiver(), MAKER),
    (PRESENTATION, pm.RecordWaiver(waived=True, reference="W1"), MAKER),
    (PRESENTATION, pm.HonourPresentation(), CHECKER),
    (PRESENTATION, pm.WithdrawPresentation(), MAKER),
    (
        FACILITY,
        SetFacility(facility="F1", customer="p1", currency="USD", limit=10**9, expiry="2028-01-01"),
        MAKER,
    ),
    (FACILITY, ReserveLimit(credit="LC1", currency="USD", amount=10**7), SAGA),
]
LIFE = list(range(len(COMMANDS)))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    # a whole life in order, now and then another order, with commands left out and repeated
    order=st.one_of(
        st.lists(st.sampled_from(LIFE), max_size=20),
        st.sets(st.sampled_from(LIFE), min_size=12).map(sorted),
    ),
    cuts=st.sets(st.integers(0, 20)),
)
def test_rows_equal_the_fold_of_events_for_any_history(order: list[int], cuts: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for place, number in enumerate(order):
            key, command, actor = COMMANDS[number]
            if command == "approve":
                state = fold(world, CREDIT)
                command = cm.ApproveCredit(
                    revision=state.approval_revision, content_hash=state.content_hash
                )
            world.send(key, command, actor)
            world.settle()
            if place in cuts:
                world.project()
        world.project()
        check_book(world)
        check_ledger(world)
        assert world.projector.verify("book") == []
        world.views.close()


def check_book(world: World) -> None:
    queries = world.queries
    state = fold(world, CREDIT)
    rows = queries.credits(MAKER).rows
    assert len(rows) == (1 if state.state else 0)
    for row in rows:
        assert row.state == state.state
        assert row.amount == state.terms.amount
        left = max_liability(state.terms) - state.used - state.claimed
        assert row.available == max(0, left)
        assert queries.credit(MAKER, CREDIT).balances.liability == state.undrawn
        latest = queries.state_at(MAKER, CREDIT, -1)
        assert latest.latest == row.revision == len(queries.timeline(MAKER, CREDIT).entries)
        assert latest.state["state"] == state.state
    presentation = fold(world, PRESENTATION)
    shown = queries.presentations(MAKER).rows
    assert [p.state for p in shown] == ([presentation.state] if presentation.state else [])
    facility = fold(world, FACILITY)
    for kept in queries.facilities(MAKER):
        assert kept.reserved + kept.used == facility.reserved
        assert kept.available == facility.available


def check_ledger(world: World) -> None:
    events = world.events()
    postings = [p for _, event in events for p in getattr(event, "postings", [])]
    shown = world.queries.trial_balance(MAKER)
    found = {
        Balance(row.book, row.account, row.currency): row.balance
        for row in shown.rows
        if row.book != "memo"
    }
    assert found == trial_balance(postings)
    assert shown.zero
    status = world.queries.status(MAKER)
    assert status.events == len(events)
    assert status.inputs == world.sent
    assert status.commands == status.inputs + sum(status.other_commands.values())


def test_what_views_take_in_at_once_is_what_their_handlers_take_in_one_by_one(
    world: World,
) -> None:
    issue(world)
    for key, command, actor in COMMANDS[7:]:
        world.send(key, command, actor)
    world.run()
    at_once = [p for p in PROJECTIONS if p.together]
    assert {p.name for p in at_once} >= {"history", "compliance-history"}
    beside = world.new_projector([p._replace(together={}) for p in at_once], follow=False)
    for projection in at_once:
        assert beside.verify(projection.name) == []
    with world.views.reading() as reading:
        assert reading.select("events"), "and there is something to compare"


def test_the_columns_of_a_credit_follow_from_its_state_alone(world: World) -> None:
    issue(world)
    with world.views.reading() as reading:
        row = reading.get("credits", key=CREDIT)
    assert row is not None
    wanted = derived(fold(world, CREDIT))
    assert {name: row[name] for name in wanted} == wanted
    assert row["liability"] > 0


def test_a_state_is_shown_at_any_revision_with_what_its_event_changed(world: World) -> None:
    issue(world)
    timeline = world.queries.timeline(MAKER, CREDIT)
    assert [e.revision for e in timeline.entries] == list(range(1, len(timeline.entries) + 1))
    place = next(e.revision for e in timeline.entries if e.type == "ApprovalRequested")
    at = world.queries.state_at(MAKER, CREDIT, place)
    changed = {c.field: (c.before, c.after) for c in at.changed}
    assert changed["state"] == ("IN_PROCESS", "AWAITING_APPROVAL")
    assert at.event is not None and at.event.revision == place
    assert world.queries.state_at(MAKER, CREDIT, 0).changed == []
    with pytest.raises(Exception, match="events, not 99"):
        world.queries.state_at(MAKER, CREDIT, 99)


def test_an_approval_shows_what_is_bound_and_who_may_not_give_it(world: World) -> None:
    world.send(CREDIT, trade.application())
    for command in (
        cm.ValidateApplication(),
        cm.BeginComplianceCheck(),
        cm.CompleteComplianceCheck(),
        cm.RequestApproval(),
    ):
        world.send(CREDIT, command, SAGA)
    world.run()
    mine = world.queries.approvals(MAKER)[0]
    theirs = world.queries.approvals(CHECKER)[0]
    state = fold(world, CREDIT)
    assert (theirs.revision, theirs.content_hash) == (state.approval_revision, state.content_hash)
    assert mine.self_made and not theirs.self_made
    assert theirs.content["beneficiary"] == "Tanjong Timber Pte Ltd"
    work = {i.kind: i for i in world.queries.work(MAKER).rows}
    assert "second person" in work["approve_credit"].blocked
    world.do(
        CREDIT,
        cm.ApproveCredit(revision=theirs.revision, content_hash=theirs.content_hash),
        CHECKER,
    )
    assert world.queries.approvals(CHECKER) == []


def test_a_presentation_shows_its_deadline_findings_and_work(world: World) -> None:
    world.do(PRESENTATION, trade.documents())
    finding = pm.RaiseDiscrepancy(
        article="UCP600-14d", explanation=Words(text="The weights differ.")
    )
    world.do(PRESENTATION, finding)
    shown = world.queries.presentation(MAKER, PRESENTATION)
    assert shown.row.state == "DISCREPANT" and shown.row.due > trade.MONDAY
    assert [(f.article, f.by) for f in shown.findings] == [("UCP600-14d", MAKER.person)]
    assert shown.documents[0].kind == "invoice"
    items = world.queries.work(MAKER).rows
    assert [(i.kind, i.due) for i in items] == [("decide", shown.row.due)]
    today = world.queries.today(MAKER, trade.MONDAY)
    assert [d.key for d in today.deadlines] == [PRESENTATION]


def test_filters_and_cursors_give_every_credit_once(world: World) -> None:
    for number in range(7):
        reference = f"LC{number}"
        world.send(
            f"albion/credit/{reference}",
            msgspec.structs.replace(
                trade.application(amount=(number + 1) * 1000_00), credit=reference
            ),
        )
    world.run()
    from usance.views.results import CreditFilter

    seen, cursor = [], ""
    while True:
        page = world.queries.credits(MAKER, CreditFilter(order="-amount"), cursor, limit=3)
        seen += [row.reference for row in page.rows]
        cursor = page.page.cursor
        if not cursor:
            break
    assert seen == [f"LC{n}" for n in reversed(range(7))]
    dear = world.queries.credits(MAKER, CreditFilter(amount_from=5000_00, text="tanjong"))
    assert dear.total == 3
    assert world.queries.credits(MAKER, CreditFilter(text="no such")).rows == []
    assert world.queries.credits(MAKER, CreditFilter(has_discrepancy=True)).total == 0
    assert world.queries.credits(MAKER, CreditFilter(has_discrepancy=False)).total == 7
    with pytest.raises(Exception, match="cursor"):
        world.queries.events(MAKER, cursor="bm9uc2Vuc2U")


def test_an_input_counts_once_by_its_present_state(world: World) -> None:
    first = world.do(CREDIT, trade.application(), causation="intake:t/0/1")
    # forwarded again by a gateway that crashed: same causation, still one input
    world.do(CREDIT, trade.application(), causation="intake:t/0/1", command_id=first)
    # sent twice by the counterparty: another input, a duplicate
    world.do(CREDIT, trade.application(), causation="intake:t/0/2", command_id=first)
    # the same id with another body
    other = trade.application(amount=5)
    world.do(CREDIT, other, causation="intake:t/0/3", command_id=first)
    world.do(CREDIT, cm.RequestApproval(), causation="intake:t/0/4")
    world.do(CREDIT, cm.ValidateApplication(), causation=f"saga:{CREDIT}")
    status = world.queries.status(MAKER)
    counted = (status.accepted, status.refused, status.duplicates, status.conflicts)
    assert counted == (1, 1, 1, 1)
    assert status.inputs == 4
    assert status.other_commands == {"saga": 1}
    assert world.queries.command(MAKER, first).repeats == 3


def test_every_event_type_has_a_sentence_that_its_fields_can_fill(world: World) -> None:
    events = {t.cls.__name__: t.cls for t in default().types() if t.kind == "event"}
    assert set(events) <= sentences.known()
    issue(world)
    world.do(PRESENTATION, trade.documents())
    said = [e.sentence for e in world.queries.events(MAKER, limit=100).rows]
    assert "Put before a second person (standard)" in said
    assert any("decide by 2026-12" in s for s in said)
    for name, (text, article) in sentences._SENTENCES.items():
        cls = events.get(name)
        if cls is None:
            continue
        names = set(cls.__struct_fields__)
        for field in _fields(text + article):
            assert field in names, f"{name}: {field}"


def _fields(text: str) -> list[str]:
    import string

    found = []
    for _, name, spec, _ in string.Formatter().parse(text):
        if name in ("money", "when", "because", "seen", "moved", "advised"):
            if spec:
                found.append(spec)
        elif name:
            found.append(name.split(".")[0])
    return found


def test_trade_never_sees_what_compliance_knows(world: World) -> None:
    from usance.aml import case as cs

    if "usance.compliance.OpenCase" not in world.catalogue.by_name:
        world.catalogue.register(_case_messages(cs), "compliance")
    secret = "ZORBAX HIDDEN NAME"
    hit = cs.Hit(
        field="beneficiary.name",
        kind="unknown",
        text=secret,
        band="hit",
        score=97,
        list_id="un",
        entry="E1",
        entry_digest="d",
        explanation="{}",
    )
    evidence = cs.evidence_hash([hit])
    identity = cs.case_identity(CREDIT, evidence)
    case_key = f"albion/case/{identity}"
    world.do(CREDIT, trade.application())
    opened = cs.OpenCase(
        case_id=identity,
        subject_stream=CREDIT,
        saga="albion/saga/issuance:LC1",
        step="check",
        source_event="e",
        evidence_hash=evidence,
        snapshot_id="s",
        matcher_version="1",
        list_versions=["un/1"],
        hits=cs.Hits(subject="party-1", hits=[hit]),
    )
    world.do(case_key, opened, SAGA, causation="sent:x")
    queries = world.queries
    case = queries.case(COMPLIANCE, case_key)
    assert case.hits[0]["text"] == secret and case.row.hits == 1
    assert [c.key for c in queries.cases(COMPLIANCE).rows] == [case_key]
    seen = everything(world, MAKER)
    for word in (secret.encode(), identity.encode(), b"CaseOpened", b"hit"):
        assert word not in seen
    assert secret.encode() in everything(world, COMPLIANCE)
    with pytest.raises(Exception, match="nothing is recorded"):
        queries.timeline(MAKER, case_key)
    with pytest.raises(Exception, match="nothing is recorded"):
        queries.case(MAKER, case_key)
    opened_event = queries.timeline(COMPLIANCE, case_key).entries[0]
    with pytest.raises(Exception, match="no event"):
        queries.event(MAKER, opened_event.event_id)


def _case_messages(cs: Any) -> list[tuple[type, str]]:
    commands = [cs.OpenCase, cs.ProposeDisposition, cs.ApproveDisposition]
    events = [cs.CaseOpened, cs.DispositionProposed, cs.DispositionApproved]
    return [(c, "command") for c in commands] + [(e, "event") for e in events]


def everything(world: World, viewer: Actor) -> bytes:
    """Return every list and page that a viewer can ask for, as JSON."""
    q = world.queries
    found: list[Any] = [
        q.today(viewer, 0),
        q.work(viewer),
        q.credits(viewer),
        q.credit(viewer, CREDIT),
        q.timeline(viewer, CREDIT),
        q.events(viewer),
        q.presentations(viewer),
        q.messages(viewer),
        q.approvals(viewer),
        q.cases(viewer),
        [q.case(viewer, c.key) for c in q.cases(viewer).rows],
        q.dead_letters(viewer),
        q.parked(viewer),
        q.commands(viewer),
        q.sagas(viewer),
        q.incidents(viewer, open=False),
        q.status(viewer),
        q.search(viewer, "LC1"),
        q.search(viewer, "ZORBAX"),
    ]
    return msgspec.json.encode(found)


def test_a_withheld_block_is_told_by_a_mark_and_not_by_its_inside():
    sealed = Denied("text", "cust-quillon")
    gone = Erased("text", "cust-quillon", b"k" * 16, 0, "certificate-1")
    assert flat({"note": sealed, "older": [{"note": gone}]}) == {
        "note": "[sealed]",
        "older.1.note": "[erased]",
    }
    assert flat(sealed, "narrative") == {"narrative": "[sealed]"}
