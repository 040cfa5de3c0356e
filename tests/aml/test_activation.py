"""A list version is proposed by one person and activated by another, bound to the bytes that were seen."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from usance.aml import activation as act
from usance.aml.list_formats import read_csv
from usance.aml.lists import changes, packed, unpack
from usance.kernel.authority import Authorised
from usance.kernel.decider import NOTHING, Actor, Context, Decision, Refusal
from usance.kernel.words import Words

LISTS = act.ListDecider()
KEY = "albion/list/sanctions"


def who(person: str, role: str = "compliance") -> Context:
    return Context(KEY, 0, 1_800_000_000_000, "albion", Actor(person, person, role), "cmd", "c", "")


ELIF, FARID = who("elif.demir"), who("farid.haddad", "compliance_officer")


def version(day: str = "2026-11-20", content: str = "aa" * 32, entries: int = 100) -> Any:
    return act.ListVersion(
        list_id="un",
        source="UN",
        version=day,
        sha256="bb" * 32,
        content=content,
        chunks=1,
        entries=entries,
        names=entries,
    )


def proposal(found: Any, base: str = "", **more: Any) -> act.ProposeList:
    return act.ProposeList(version=found, base=base, added=1, changed=0, removed=0, **more)


def approval(found: Any) -> act.ApproveList:
    return act.ApproveList(proposal=act.proposal_of(found), content=found.content)


def played(*acts: tuple[Any, Context]) -> tuple[act.ListState, list[Any]]:
    """Return the state and every answer."""
    state, answers = LISTS.initial(KEY), []
    for command, context in acts:
        answer = LISTS.decide(state, command, context)
        answers.append(answer)
        for event in answer.events if isinstance(answer, Decision) else ():
            state = LISTS.evolve(state, event)
    return state, answers


def code(answer: Any) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


ONE, TWO = version(), version("2026-11-27", "cc" * 32, 101)


def test_two_people_activate_a_version_and_a_repeat_does_nothing() -> None:
    asked = proposal(ONE)
    state, answers = played(
        (asked, ELIF), (asked, ELIF), (approval(ONE), FARID), (approval(ONE), FARID)
    )
    assert answers[1] is NOTHING and answers[3] is NOTHING
    (event,) = answers[2].events
    assert (event.proposer, event.approver) == ("elif.demir", "farid.haddad")
    assert state.active == {"un": ONE} and state.waiting == {}


def test_nobody_activates_what_they_proposed_under_any_role() -> None:
    for role in ("compliance", "compliance_officer"):
        _, answers = played((proposal(ONE), ELIF), (approval(ONE), who("elif.demir", role)))
        assert code(answers[1]) == "SELF_APPROVAL"


def test_only_people_of_compliance_decide() -> None:
    guarded = Authorised(LISTS)
    for role in ("maker", "checker", "engineer", "auditor", "gateway"):
        assert code(guarded.decide(act.ListState(), proposal(ONE), who("x", role))) == "ROLE_NEEDED"
    program = Context(KEY, 0, 1, "albion", Actor("engine", "", "system"), "cmd", "c", "")
    assert code(guarded.decide(act.ListState(), proposal(ONE), program)) == "NEEDS_A_PERSON"


def test_another_stream_than_the_one_that_screeners_follow_takes_no_list() -> None:
    aside = msgspec.structs.replace(ELIF, key="albion/list/another")
    assert code(LISTS.decide(LISTS.initial(aside.key), proposal(ONE), aside)) == "WRONG_KEY"


def test_an_approval_is_bound_to_the_bytes_seen() -> None:
    other = act.ApproveList(proposal=act.proposal_of(ONE), content="dd" * 32)
    state, answers = played((proposal(ONE), ELIF), (other, FARID))
    assert code(answers[1]) == "CONTENT_CHANGED" and not state.active


def test_one_version_of_a_list_waits_at_a_time() -> None:
    _, answers = played((proposal(ONE), ELIF), (proposal(TWO), FARID))
    assert code(answers[1]) == "PROPOSAL_WAITS"


def test_what_the_gate_holds_back_is_refused_whoever_says_it() -> None:
    active = ((proposal(ONE), ELIF), (approval(ONE), FARID))
    older = version("2026-11-01", "ee" * 32)
    many = version("2026-11-28", "ff" * 32, 200)
    let_pass = [act.ListFinding(code="COUNT_OUTSIDE_RANGE", message="100 and 200")]
    base = ONE.content
    said = {
        "ALREADY_ACTIVE": proposal(ONE, base),
        "OLDER_THAN_ACTIVE": proposal(older, base),
        "COUNT_OUTSIDE_RANGE": proposal(many, base),
        "EMPTY_LIST": proposal(version("2026-11-28", "ff" * 32, 0), base),
    }
    for wanted, command in said.items():
        assert code(played(*active, (command, ELIF))[1][2]) == wanted
    assert played(*active, (proposal(many, base, findings=let_pass), ELIF))[1][2].events


def test_a_comparison_with_a_replaced_version_is_refused() -> None:
    active = ((proposal(ONE), ELIF), (approval(ONE), FARID))
    assert code(played(*active, (proposal(TWO), ELIF))[1][2]) == "LIST_MOVED"
    assert code(played((proposal(TWO, ONE.content), ELIF))[1][0]) == "LIST_MOVED"
    _, answers = played(*active, (proposal(TWO, ONE.content), FARID), (approval(TWO), ELIF))
    assert answers[3].events[0].replaced == ONE.content


def test_a_proposal_is_turned_down_with_a_reason_or_taken_back_by_its_maker() -> None:
    named = act.proposal_of(ONE)
    silent = act.RejectList(proposal=named, reason=Words(text=" "))
    told = act.RejectList(proposal=named, reason=Words(text="names are missing"))
    back = act.WithdrawList(proposal=named)
    state, answers = played(
        (proposal(ONE), ELIF), (silent, FARID), (back, FARID), (told, FARID), (approval(ONE), FARID)
    )
    assert [code(answers[n]) for n in (1, 2, 4)] == [
        "REASON_NEEDED",
        "NOT_YOURS",
        "NOTHING_PROPOSED",
    ]
    assert not state.waiting and not state.active
    state, answers = played((proposal(ONE), ELIF), (back, ELIF), (proposal(ONE), ELIF))
    assert answers[2].events and "un" in state.waiting


def test_kept_bytes_give_the_list_back_and_changes_are_told_by_content() -> None:
    def house(*names: str) -> Any:
        rows = "".join(f"H-{n},{name}\n" for n, name in enumerate(names))
        return read_csv(f"uid,name\n{rows}".encode(), list_id="house", version="2026-11-20")

    old, new = house("GRELLVANDER", "ODOBAS", "QUILLON"), house("GRELLVANDER", "ODOBAS TWO")
    later = msgspec.structs.replace(new, loaded_at=7)
    assert unpack(packed(new)) == new and packed(later) == packed(new)
    found = changes(old, new)
    assert (found.added, found.changed, found.removed) == ((), ("H-1",), ("H-2",))
    assert changes(None, new).added == ("H-0", "H-1")


PEOPLE = st.sampled_from([ELIF, FARID, who("third"), who("amara", "maker")])
VERSIONS = st.sampled_from([ONE, TWO, version("2026-11-28", "ff" * 32, 300)])
COMMANDS = st.one_of(
    st.builds(proposal, VERSIONS, st.sampled_from(["", ONE.content, TWO.content])),
    st.builds(approval, VERSIONS),
    st.builds(lambda v: act.WithdrawList(proposal=act.proposal_of(v)), VERSIONS),
    st.builds(
        lambda v: act.RejectList(proposal=act.proposal_of(v), reason=Words(text="no")), VERSIONS
    ),
)


@given(st.lists(st.tuples(COMMANDS, PEOPLE), max_size=12))
def test_whatever_is_said_nothing_becomes_active_by_one_person(said: list[Any]) -> None:
    state = LISTS.initial(KEY)
    for command, context in said:
        answer = LISTS.decide(state, command, context)
        for event in answer.events if isinstance(answer, Decision) else ():
            if isinstance(event, act.ListActivated):
                assert event.proposer != event.approver
            before = msgspec.msgpack.encode(state)
            after = LISTS.evolve(state, event)
            assert msgspec.msgpack.encode(state) == before
            state = after
