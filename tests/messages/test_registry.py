"""The registry kept in the log: ids, plans, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from sample_messages import catalogue

from usance.kernel.errors import Conflict, NotFound, Tampered
from usance.messages.catalogue import Catalogue, MessageType
from usance.messages.registry import RegistryState, history, plan, registered
from usance.messages.registry_events import SchemaRegistered, SubjectConfigured


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """A message that grew."""

    a: str
    b: str | None = None


def version(*fields: dict[str, Any], doc: str = "") -> str:
    record = {"type": "record", "name": "usance.trade.Grown", "doc": doc, "fields": list(fields)}
    return json.dumps(record)


A = {"name": "a", "type": "string"}
B = {"name": "b", "type": ["null", "string"], "default": None}
B_BARE = {"name": "b", "type": "string"}


def grown(*texts: str, kind: str = "event") -> Catalogue:
    made = Catalogue({"usance.trade.Grown": dict(enumerate(texts, start=1))})
    made.register(((Grown, kind),))
    return made


def subjects_of(entry: MessageType) -> set[str]:
    return set(entry.subjects())


def test_planning_twice_changes_nothing_and_a_folded_plan_leaves_nothing_to_do() -> None:
    state = RegistryState()
    events = plan(catalogue(), state)
    assert state.ids() == []
    assert plan(catalogue(), state) == events
    for event in events:
        state.apply(event)
    assert plan(catalogue(), state) == []
    assert state.ids() == list(range(1, len(state.ids()) + 1))


def test_the_registrys_own_events_have_the_first_two_ids_for_ever() -> None:
    state = registered(catalogue())
    names = [known.schema.fullname for i in (1, 2) if (known := state.by_id(i))]
    assert names == ["usance.system.SchemaRegistered", "usance.system.SubjectConfigured"]


def test_one_text_has_one_id_in_every_subject() -> None:
    state = registered(catalogue())
    ids = {
        tuple(state.subjects[s].values())
        for s in subjects_of(catalogue().named("usance.system.TimerSet"))
    }
    assert len(ids) == 1
    assert len(subjects_of(catalogue().named("usance.system.TimerSet"))) == 4


def test_subjects_name_topic_and_record_and_levels_follow_the_kind() -> None:
    state = registered(catalogue())
    assert state.levels["usance.trade.events-usance.trade.FileOpened"] == "FULL_TRANSITIVE"
    assert state.levels["usance.trade.outcomes-usance.system.Outcome"] == "FORWARD_TRANSITIVE"
    assert "usance.trade.Applicant" in state.subjects


def test_a_later_version_gets_the_next_id_and_keeps_the_old_ones() -> None:
    state = registered(grown(version(A)))
    before = state.ids()
    added = plan(grown(version(A), version(A, B)), state)
    assert [(e.version, e.id) for e in added if isinstance(e, SchemaRegistered)] == [
        (2, len(before) + 1)
    ]


def test_an_incompatible_version_is_refused_with_rule_path_and_hint() -> None:
    with pytest.raises(Conflict, match="/fields/1") as caught:
        registered(grown(version(A), version(A, B_BARE)))
    assert "default" in caught.value.hint


def test_transitive_levels_compare_with_every_version_not_only_the_last() -> None:
    # Version 3 reads version 2, but not version 1, which is in the log for ever.
    texts = (version(A), version(A, B_BARE | {"default": ""}), version(A, B_BARE))
    with pytest.raises(Conflict, match="version 3"):
        registered(grown(*texts))


def test_a_shipped_text_that_was_edited_is_refused() -> None:
    state = registered(grown(version(A)))
    with pytest.raises(Conflict, match="another text"):
        plan(grown(version(A, doc="better words")), state)


def test_history_folds_to_an_equal_state() -> None:
    state = registered(catalogue())
    copy = RegistryState()
    for event in history(state):
        copy.apply(event)
    assert (copy.subjects, copy.levels, copy.ids()) == (state.subjects, state.levels, state.ids())


def test_an_id_or_fingerprint_that_contradicts_its_text_is_tampering() -> None:
    events = [e for e in plan(catalogue(), RegistryState()) if isinstance(e, SchemaRegistered)]
    first, second = events[:2]
    for wrong in (
        msgspec.structs.replace(first, id=7),  # one text, two ids
        msgspec.structs.replace(second, id=first.id),  # one id, two texts
        msgspec.structs.replace(second, fingerprint=bytes(8)),
    ):
        state = RegistryState()
        state.apply(first)
        with pytest.raises(Tampered):
            state.apply(wrong)


def test_unknown_subjects_and_schemas_are_not_found() -> None:
    state = RegistryState()
    state.apply(SubjectConfigured(subject="s", level="NONE"))
    with pytest.raises(NotFound):
        state.versions("s")
    with pytest.raises(NotFound, match="not registered"):
        state.id_of(catalogue().meta.schema)
