"""Audit packs: what is in them, that a stranger can verify them, and that nothing can be altered in them."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace
from pack_world import (
    AUDITOR,
    CHECKER,
    CREDIT,
    MAKER,
    STREAM,
    PackWorld,
    alone,
    files_of,
    lines,
    told,
)

from usance.adapters.proof_files import read_key
from usance.audit.codes import Detected
from usance.audit.note import (
    Checkpoint,
    parse_checkpoint,
    parse_note,
    sign_note,
)
from usance.audit.pack import verifier
from usance.audit.pack_records import parts_of, unprefixed
from usance.bootstrap.packs.handing import Pack, write_pack
from usance.bootstrap.packs.pack_indexes import wrong_indexes
from usance.bootstrap.packs.pack_scope import Request, instant_of
from usance.bootstrap.packs.packing import Packer
from usance.domain.export import ExportPack, reference_of
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.errors import NotFound, Refused, Unavailable, Unreadable

TREE = "trade.events"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory, credit: Pack) -> Path:
    """The verifier as it stands in a pack."""
    found = tmp_path_factory.mktemp("stranger") / "verify.py"
    found.write_bytes(files_of(credit)["verify.py"])
    return found


# -- what a stranger sees


def test_a_stranger_without_usance_accepts_the_pack(
    credit: Pack, script: Path, tmp_path: Path
) -> None:
    write_pack(credit, tmp_path / "pack.zip")
    said = alone(script, str(tmp_path / "pack.zip"), "--trust", credit.fingerprint)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"ACCEPTED {credit.records} records, head albion.example/usance/")
    policy = tmp_path / "policy.txt"
    policy.write_bytes(files_of(credit)["policy.txt"])
    assert alone(script, str(tmp_path / "pack.zip"), "--trust", str(policy)).returncode == 0


def test_without_keys_from_outside_the_verdict_says_whose_word_it_is(
    credit: Pack, script: Path, tmp_path: Path
) -> None:
    write_pack(credit, tmp_path / "pack.zip")
    said = alone(script, str(tmp_path / "pack.zip"))
    assert said.returncode == 0
    assert said.stdout.startswith("WHOLE, BY ITS OWN KEYS")
    assert f"{credit.fingerprint}: compare this with the covering letter" in said.stdout
    found = json.loads(alone(script, str(tmp_path / "pack.zip"), "--json").stdout)
    assert found["by"] == "its own keys" and found["verifier"] == credit.verifier


def test_what_cannot_be_judged_has_an_exit_code_of_its_own(script: Path, tmp_path: Path) -> None:
    assert alone(script, str(tmp_path / "none.zip")).returncode == 2
    assert alone(script).returncode == 2
    (tmp_path / "empty.zip").write_bytes(b"")
    said = alone(script, str(tmp_path / "empty.zip"))
    assert (said.returncode, said.stdout[:17]) == (1, "REFUSED MALFORMED")


def test_the_verifier_is_one_file_of_the_standard_library_and_the_same_in_every_pack(
    credit: Pack, whole: Pack
) -> None:
    text = files_of(credit)["verify.py"]
    assert text == files_of(whole)["verify.py"] == verifier()
    assert b"import usance" not in text and b"from usance" not in text
    assert hashlib.sha256(text).hexdigest() == credit.verifier
    assert text.startswith(b'"""Verify an audit pack with nothing but Python')


def test_any_zip_program_opens_a_pack_and_all_its_names_are_plain(credit: Pack) -> None:
    with zipfile.ZipFile(io.BytesIO(credit.data)) as found:
        assert found.testzip() is None
        names = found.namelist()
    assert names == sorted(names) == list(files_of(credit))
    assert {"README.html", "index.html", "custody.jsonl", "keys.json", "policy.txt"} <= set(names)


# -- what is in it


def test_a_credit_comes_with_what_belongs_to_it_and_nothing_of_others(credit: Pack) -> None:
    streams = json.loads(files_of(credit)["manifest.json"])["streams"]
    kinds = {stream.split("/")[1] for stream in streams}
    assert STREAM in streams and {"saga", "message", "screening"} <= kinds
    assert not any("facility" in stream for stream in streams)
    assert {line["stream"] for line in lines(files_of(credit), "")} >= set(streams)


def test_lines_say_what_the_stored_bytes_say_to_the_programs_own_decoder(
    packs: PackWorld, credit: Pack
) -> None:
    files = files_of(credit)
    for name in sorted(n for n in files if n.startswith("events/trade.")):
        stored = unprefixed(files[name.replace("events/", "envelopes/", 1)[:-5] + "bin"], name)
        for line, envelope in zip(files[name].splitlines(), stored, strict=True):
            said, parts = json.loads(line), parts_of(envelope)
            message = packs.runtime.store.decoder.value(parts[8])
            assert said["type"].rpartition(".")[2] == type(message).__name__
            for field in ("credit", "presentation", "amount", "currency", "answer", "revision"):
                if isinstance(value := getattr(message, field, None), str | int):
                    assert said["content"][field] == value
    assert len(lines(files)) > 50


def test_lines_load_into_a_database_and_count_as_the_manifest_says(credit: Pack) -> None:
    files = files_of(credit)
    trees = json.loads(files["manifest.json"])["trees"]
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE record (line TEXT NOT NULL)")
    found = [
        line.decode() for n in files if n.startswith("events/") for line in files[n].splitlines()
    ]
    base.executemany("INSERT INTO record VALUES (?)", [(line,) for line in found])
    query = (
        "SELECT json_extract(line, '$.topic') || printf('/p%03d', json_extract(line, '$.partition')),"
        " count(*) FROM record GROUP BY 1"
    )
    counted = dict(base.execute(query).fetchall())
    base.close()
    assert counted == {name: tree["records"] for name, tree in trees.items() if tree["records"]}
    assert sum(counted.values()) == credit.records


def test_the_state_after_each_revision_is_recreated_from_the_pack_alone(
    packs: PackWorld, credit: Pack
) -> None:
    files = files_of(credit)
    stories = {s["stream"]: s for s in json.loads(files["record-history.json"])}
    viewer = packs.runtime.directory.actor(AUDITOR)
    state: dict[str, str] = stories[STREAM]["initial"]
    for fact in stories[STREAM]["facts"]:
        for change in fact["changed"]:
            state.pop(change["field"], None)
            if change["after"]:
                state[change["field"]] = change["after"]
        recorded = packs.runtime.queries.state_at(viewer, STREAM, fact["revision"])
        assert state == recorded.state
        assert [c["field"] for c in fact["changed"]] == [c.field for c in recorded.changed]
        assert fact["event_id"] == recorded.event.event_id
    assert len(stories[STREAM]["facts"]) == recorded.latest > 10


def test_events_of_the_pack_fold_to_the_state_that_the_log_folds_to(
    packs: PackWorld, credit: Pack
) -> None:
    store, files = packs.runtime.store, files_of(credit)
    decider = store.deciders["credit"]
    state, revisions = decider.initial(STREAM), 0
    for name in sorted(n for n in files if n.startswith(f"envelopes/{TREE}")):
        for envelope in unprefixed(files[name], name):
            parts = parts_of(envelope)
            if parts[7] == STREAM.encode():
                state, revisions = (
                    decider.evolve(state, store.decoder.value(parts[8])),
                    revisions + 1,
                )
                assert state == store.history.fold(decider, STREAM, revisions)
    assert revisions > 10


def test_the_timeline_is_a_page_without_scripts_that_uses_the_words_of_the_console(
    packs: PackWorld, credit: Pack
) -> None:
    page = files_of(credit)["index.html"].decode()
    viewer = packs.runtime.directory.actor(AUDITOR)
    for entry in packs.runtime.queries.timeline(viewer, STREAM).entries:
        assert entry.sentence in page.replace("&#x27;", "'").replace("&amp;", "&")
    assert "<script" not in page and "http" not in page
    assert "Grace Mwangi" in page and "FCA 2026/17" in page
    first = files_of(credit)["README.html"].decode()
    assert credit.fingerprint in first and credit.verifier in first


def test_the_handing_over_is_an_event_that_names_the_manifest(
    packs: PackWorld, credit: Pack
) -> None:
    manifest = files_of(credit)["manifest.json"]
    key = f"albion/export/{credit.reference}"
    (past,) = packs.runtime.store.history.stream(key)
    assert past.message.manifest == hashlib.sha256(manifest).digest()
    assert past.meta.actor.person == AUDITOR and past.message.case == "FCA 2026/17"
    custody = json.loads(files_of(credit)["custody.jsonl"])
    assert custody["asked_by"] == AUDITOR and custody["built_by"].startswith("usance")


# -- the same input gives the same bytes


def test_the_same_request_at_the_same_heads_gives_the_same_manifest(packs: PackWorld) -> None:
    request = Request("credit", CREDIT, known_at=packs.early)
    one, two = packs.pack(request), packs.pack(request)
    first, second = files_of(one), files_of(two)
    assert one.reference == two.reference
    assert first["manifest.note"] == second["manifest.note"]
    differing = {n for n in first.keys() | second.keys() if first.get(n) != second.get(n)}
    assert differing and all(name.startswith("sealed/") for name in differing)


# -- what was known, what had happened


def test_a_pack_as_of_an_instant_holds_what_was_decided_by_then(
    packs: PackWorld, credit: Pack
) -> None:
    every = lines(files_of(credit))
    times = sorted(line["time"] for line in every)
    as_of = times[len(times) // 2]
    pack = packs.pack(Request("credit", CREDIT, as_of=as_of))
    found = lines(files_of(pack))
    assert [line["id"] for line in found] == [e["id"] for e in every if e["time"] <= as_of]
    report = told(pack.data, pack.fingerprint)
    assert isinstance(report, dict)
    both = [*every, *lines(files_of(credit), "compliance.events")]
    assert report["later"] == sum(e["time"] > as_of for e in both) > 0


def test_a_pack_as_known_at_an_earlier_head_holds_what_was_sealed_by_then(
    packs: PackWorld, credit: Pack, tmp_path: Path
) -> None:
    early = packs.pack(Request("credit", CREDIT, known_at=packs.early))
    then = [line["id"] for line in lines(files_of(early), TREE)]
    now = [line["id"] for line in lines(files_of(credit), TREE)]
    assert set(then) < set(now)
    assert early.known_at == packs.early < credit.known_at
    saved = packs.evidence.head()
    again = packs.pack(Request("credit", CREDIT, known_at=saved))
    assert [line["id"] for line in lines(files_of(again), TREE)] == now
    assert again.known_at == parse_checkpoint(parse_note(saved).text).size


def test_every_number_of_heads_makes_a_pack_or_says_that_nothing_was_sealed_yet(
    packs: PackWorld,
) -> None:
    evidence = packs.evidence
    top = parse_checkpoint(parse_note(evidence.head()).text).size
    made, viewer = [], packs.runtime.directory.actor(AUDITOR)
    for known in range(1, top + 1):
        try:
            packer = Packer(evidence, viewer, packs.names)
            made.append(packer.gather(Request("credit", CREDIT, known_at=known)))
        except (NotFound, Unavailable):
            assert not made, "what was there at a head is there at the next"
    assert len(made) > 1


def test_a_saved_head_of_another_history_makes_no_pack(packs: PackWorld) -> None:
    key = read_key(packs.evidence.places.key)
    origin = packs.evidence.origins.heads
    forked = sign_note(Checkpoint(origin, packs.early, bytes(32)).text(), origin, key)
    with pytest.raises(Detected) as found:
        packs.pack(Request("credit", CREDIT, known_at=forked))
    assert found.value.code == "FORK"


def test_an_instant_is_a_day_or_a_time_and_anything_else_is_told() -> None:
    assert instant_of("2026-11-24") == "2026-11-24T23:59:59.999Z"
    assert instant_of("2026-11-24T12:00:00+01:00") == "2026-11-24T11:00:00.000Z"
    with pytest.raises(Unreadable):
        instant_of("yesterday")


# -- who may, and what is refused


def test_a_maker_gets_no_pack_and_a_checker_none_of_compliance(packs: PackWorld) -> None:
    with pytest.raises(Refused) as refused:
        packs.pack(Request("credit", CREDIT), MAKER)
    assert refused.value.code == "ROLE_NEEDED"
    pack = packs.pack(Request("credit", CREDIT), CHECKER)
    manifest = json.loads(files_of(pack)["manifest.json"])
    assert manifest["scope"]["contexts"] == ["trade"]
    assert not any(name.startswith("compliance.") for name in manifest["trees"])
    with pytest.raises(NotFound):
        packs.pack(Request("partition", "compliance.events/p000"), CHECKER)


def test_where_the_hand_over_cannot_be_recorded_nothing_is_handed_over(
    packs: PackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(outgoing: object) -> None:
        raise Unavailable("the log is full", hint="Free space.")

    monkeypatch.setattr(packs.runtime, "ask", down)
    with pytest.raises(Unavailable):
        packs.pack(Request("credit", CREDIT))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request("credit", "TF26LC9999"), NotFound),
        (Request("query", "stream=albion/none/*"), NotFound),
        (Request("query", "amount=5"), Refused),
        (Request("partition", "0", as_of="2026-11-24T00:00:00.000Z"), Refused),
        (Request("credit", CREDIT, known_at=1_000_000), Refused),
        (Request("partition", "17"), NotFound),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_what_to_do(
    packs: PackWorld, request_: Request, error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        packs.pack(request_)
    assert getattr(refused.value, "hint", "")


def test_an_existing_file_is_never_overwritten(small: Pack, tmp_path: Path) -> None:
    (tmp_path / "pack.zip").write_bytes(b"mine")
    with pytest.raises(Refused):
        write_pack(small, tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").read_bytes() == b"mine"


def test_counts_that_were_sealed_wrongly_are_found_by_whoever_has_the_log(
    packs: PackWorld, credit: Pack
) -> None:
    store = packs.runtime.store
    (past,) = store.history.stream(f"albion/export/{credit.reference}")
    packs.hurry()
    assert wrong_indexes(store, packs.evidence.tiles) == []
    lie = hashlib.sha256(b"a smaller pack").digest()
    said = {f: getattr(past.message, f) for f in past.message.__struct_fields__}
    said["indexes"] = [replace(one, entries=one.entries - 1) for one in said["indexes"][:1]]
    command = ExportPack(**said | {"manifest": lie, "pack": reference_of(lie)})
    auditor = packs.runtime.directory.actor(AUDITOR)
    key = f"albion/export/{reference_of(lie)}"
    packs.runtime.ask(Outgoing(key, command, "a-lie", "test", "a-lie", auditor))
    (found,) = wrong_indexes(store, packs.evidence.tiles)
    assert found.code == "INCOMPLETE" and reference_of(lie) in found.reason
