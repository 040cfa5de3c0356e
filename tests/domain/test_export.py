"""Who may take an audit pack out, and what is recorded of it."""

import msgspec
import pytest

from usance.domain.export import ExportDecider, ExportPack, PackExported, reference_of
from usance.kernel.decider import Actor, Context, Decision, Refusal
from usance.kernel.words import Words

MANIFEST = bytes(range(32))
COMMAND = ExportPack(
    pack=reference_of(MANIFEST),
    manifest=MANIFEST,
    verifier=bytes(32),
    scope="credit TF26LC000101",
    known_at=94,
    records=263,
)


def decided(command: ExportPack, role: str = "auditor", person: str = "grace") -> object:
    key = f"albion/export/{reference_of(MANIFEST)}"
    decider = ExportDecider()
    context = Context(key, 0, 0, "albion", Actor(person, person, role), "c", "", "")
    return decider.decide(decider.initial(key), command, context)


def test_a_hand_over_records_what_was_asked_for_and_what_was_given() -> None:
    decision = decided(COMMAND)
    assert isinstance(decision, Decision)
    (event,) = decision.events
    assert event == PackExported(**{f: getattr(COMMAND, f) for f in COMMAND.__struct_fields__})


def test_the_same_pack_may_be_handed_over_again() -> None:
    decider = ExportDecider()
    state = decider.evolve(decider.initial(""), PackExported(**msgspec.structs.asdict(COMMAND)))
    assert decider.evolve(state, PackExported(**msgspec.structs.asdict(COMMAND))).times == 2


@pytest.mark.parametrize(
    ("change", "role", "code"),
    [
        ({"manifest": bytes(32)}, "auditor", "WRONG_PACK"),
        ({"pack": "0" * 32}, "auditor", "WRONG_KEY"),
        ({"revealed": 1}, "auditor", "REASON_NEEDED"),
        ({"revealed": 1, "reason": Words(text="  ")}, "auditor", "REASON_NEEDED"),
        ({"revealed": 1, "reason": Words(text="FCA 17")}, "checker", "REVEAL_DENIED"),
        ({}, "system", "NEEDS_A_PERSON"),
    ],
)
def test_a_hand_over_that_may_not_be_is_refused(change: dict, role: str, code: str) -> None:
    refusal = decided(msgspec.structs.replace(COMMAND, **change), role)
    assert isinstance(refusal, Refusal) and refusal.code == code


def test_whoever_may_reveal_and_says_why_reveals() -> None:
    command = msgspec.structs.replace(COMMAND, revealed=2, reason=Words(text="FCA 2026/17"))
    for role in ("auditor", "compliance_officer"):
        assert isinstance(decided(command, role), Decision)
