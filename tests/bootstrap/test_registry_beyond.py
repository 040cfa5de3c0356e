"""A registry beyond the log: while it is down work waits and loses nothing; what it does not know is set aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, Store
from usance.config import RegistrySettings, Settings
from usance.domain.facility_messages import SetFacility
from usance.engine.control import Redrive, RegisterSchema
from usance.engine.owner import schemas
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable, UsanceError
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.log.contract import Output, Record
from usance.messages.catalogue import Catalogue, build, default, schema_files
from usance.messages.outcome import UnitFooter, read_dead_letter
from usance.messages.registry import frame
from usance.testing.registry_stand_in import StandIn
from usance.testing.trade import MONDAY


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Path]]:
    """A registry that knows every schema, and an empty log that took its ids from there."""
    made, root = StandIn(), tmp_path_factory.mktemp("founded") / "data"
    first = program(root, made.address)
    first.drive()
    first.close()
    yield made, root
    made.close()


@pytest.fixture
def server(founded: tuple[StandIn, Path]) -> Iterator[StandIn]:
    yield founded[0]
    founded[0].failing = 0


def program(root: Path, service: str) -> Runtime:
    settings = Settings(registry=RegistrySettings(service=service))
    return Runtime(Folder(root), settings, BookClock(MONDAY))


@pytest.fixture
def root(tmp_path: Path, founded: tuple[StandIn, Path]) -> Path:
    return Path(shutil.copytree(founded[1], tmp_path / "data"))


@pytest.fixture
def runtime(root: Path, server: StandIn) -> Iterator[Runtime]:
    made = program(root, server.address)
    yield made
    made.close()


def command(runtime: Runtime, n: int, limit: int = 5_000_000_00, name: str = "F1") -> Output:
    facility = SetFacility(
        facility=name,
        customer="party-1",
        currency="USD",
        limit=limit,
        expiry="2027-12-31",
        margin_account="GB00ALBN0001",
    )
    actor = runtime.directory.actor("bruno.lindqvist")
    command_id = derived("beyond", n)
    outgoing = Outgoing(f"albion/facility/{name}", facility, command_id, "", command_id, actor)
    return runtime.store.commands().output(outgoing, runtime.clock.now())


def under(output: Output, schema_id: int) -> Output:
    assert output.value is not None
    return output._replace(value=frame(schema_id) + output.value[5:])


def records(runtime: Runtime, kind: str) -> list[Record]:
    store = runtime.store
    found = []
    for number in range(store.topics.partitions):
        tp = store.topics.at("trade", kind, number)
        found += list(store.log.scan(tp, store.log.begin(tp)))
    return found


def read_footer(store: Store, record: Record) -> UnitFooter | None:
    found = store.decoder.message(record.headers, record.value)
    return found if isinstance(found, UnitFooter) else None


def answers(runtime: Runtime) -> list[str]:
    read = [runtime.store.decoder.value(r.value) for r in records(runtime, "outcomes")]
    return [o.answer for o in read if hasattr(o, "answer")]


def test_records_carry_the_ids_that_the_registry_gave(runtime: Runtime, server: StandIn) -> None:
    runtime.store.log.append([command(runtime, 1)])
    runtime.drive()
    [event] = records(runtime, "events")
    assert event.value is not None
    given = int.from_bytes(event.value[1:5], "big")
    assert json.loads(server.texts[given])["name"] == "FacilitySet"
    subject = "usance.trade.events-usance.trade.FacilitySet"
    assert server.subjects[subject] == [given] and server.levels[subject] == "FULL_TRANSITIVE"


def test_while_the_registry_is_down_an_unknown_id_waits_and_nothing_is_lost(
    runtime: Runtime, server: StandIn
) -> None:
    server.failing = 503
    strange = under(command(runtime, 1), 77_777)
    runtime.store.log.append([strange, command(runtime, 2, 6_000_000_00)])
    for _ in range(3):
        with pytest.raises(Unavailable):
            runtime.drive()
    assert answers(runtime) == [] and records(runtime, "dead-letters") == []
    server.failing = 0
    runtime.drive()
    [letter] = records(runtime, "dead-letters")
    note = read_dead_letter(letter.headers).note
    assert (note.stage, note.failure) == ("schema", "poison")
    assert letter.value == strange.value
    assert answers(runtime)[0] == "dead-lettered"


def test_while_the_registry_is_down_only_the_partition_of_the_unknown_id_waits(
    runtime: Runtime, server: StandIn
) -> None:
    server.failing = 503
    store = runtime.store
    strange = under(command(runtime, 1), 77_777)
    others = [command(runtime, n, name=f"F{n}") for n in range(2, 12)]
    here = strange.partition
    before = sum(o.partition != here for o in others)
    assert 0 < before < len(others), "some on its partition, some beside it"
    store.log.append([strange, *others])
    for _ in range(2):
        with pytest.raises(Unavailable, match="offset 0"):
            runtime.drive()
        assert answers(runtime) == ["accepted"] * before
        footers = [read_footer(store, r) for r in records(runtime, "outcomes")]
        assert all(f.range_end > f.range_start for f in footers if f is not None)
    [why] = runtime.health()["owner"]["paused"].values()
    assert "registry" in why and not runtime.health()["ready"]
    store.log.append([command(runtime, n, name=f"F{n}") for n in range(12, 16)])
    server.failing = 0
    runtime.drive()
    assert sorted(answers(runtime)) == ["accepted"] * 14 + ["dead-lettered"]
    assert runtime.health()["owner"]["paused"] == {}


def test_what_waits_for_the_registry_goes_on_by_itself(runtime: Runtime, server: StandIn) -> None:
    server.failing = 503
    owner = runtime.owner
    runtime.store.log.append([under(command(runtime, 1), 77_777)])
    assert owner.step() == 0 and len(owner.paused) == 1
    server.failing = 0
    clock, deadline = runtime.clock, runtime.clock.monotonic() + 30.0
    while not owner.step(0.1):
        assert clock.monotonic() < deadline
    owner.settle()
    assert owner.paused == {} and answers(runtime) == ["dead-lettered"]


def test_a_letter_redriven_while_the_registry_is_down_waits_with_its_key_alone(
    runtime: Runtime, server: StandIn
) -> None:
    store = runtime.store
    store.log.append([under(command(runtime, 1), 77_777)])
    runtime.drive()
    [(letter, found)] = [
        (i, f) for s in runtime.owner.states.values() for i, f in s.dead_letters.items() if f
    ]
    redrive = Redrive(dead_letter_id=letter, dead_letter_index=0, reason=Words(text="known now"))
    actor = Actor("henrik.solberg", "henrik.solberg", "engineer")
    server.failing = 503
    store.commands().append(
        [Outgoing(found.key, redrive, derived("beyond", "again"), "test", actor=actor)],
        runtime.clock.now(),
    )
    runtime.drive()
    [park] = [p for s in runtime.owner.states.values() for p in s.parks.values() if p is not None]
    assert park.reason == "the schema registry does not answer" and park.due > 0
    assert runtime.owner.paused == {}


def test_an_id_that_the_registry_confirms_to_be_unknown_is_poison_with_its_bytes_kept(
    runtime: Runtime, server: StandIn
) -> None:
    strange = under(command(runtime, 1), 77_777)
    runtime.store.log.append([strange])
    runtime.drive()
    [letter] = records(runtime, "dead-letters")
    assert letter.value == strange.value
    assert "GET /schemas/ids/77777" in server.asked
    assert answers(runtime) == ["dead-lettered"]


def test_a_schema_that_only_the_registry_knows_is_learnt_from_it(
    runtime: Runtime, server: StandIn
) -> None:
    """Somebody else's producer registered the same message with other words."""
    entry = runtime.store.catalogue.by_class[SetFacility]
    server.texts[555] = json.dumps(json.loads(entry.text) | {"doc": "by another program"})
    runtime.store.log.append([under(command(runtime, 1), 555)])
    runtime.drive()
    assert answers(runtime) == ["accepted"]


def test_a_log_that_has_everything_starts_without_its_registry(root: Path, server: StandIn) -> None:
    server.failing = 503
    made = program(root, server.address)
    made.store.log.append([command(made, 1)])
    made.drive()
    assert answers(made) == ["accepted"]
    made.close()


def test_a_first_start_without_its_registry_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        program(tmp_path / "data", "http://127.0.0.1:1")
    assert "registry.service" in caught.value.hint


def test_pinned_ids_serve_a_start_and_name_what_they_lack(tmp_path: Path, runtime: Runtime) -> None:
    rows: list[dict[str, Any]] = runtime.store.registry.pins()
    file = tmp_path / "pins.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    second = program(tmp_path / "second", f"pinned:{file}")
    second.store.log.append([command(second, 1)])
    second.drive()
    assert answers(second) == ["accepted"]
    assert second.store.registry.pins() == rows
    second.close()
    file.write_text(json.dumps(rows[:-1]), encoding="utf-8")
    with pytest.raises(Exception, match="does not hold") as caught:
        program(tmp_path / "third", f"pinned:{file}")
    assert caught.value.hint  # type: ignore[attr-defined]


# -- the log's own registry, and programs of two versions


NAME = "usance.trade.CreditExpired"


def newer(change: dict[str, Any]) -> Catalogue:
    """Return the catalogue of a program that ships a third version."""
    files = {n: dict(v) for n, v in schema_files().items()}
    spec = json.loads(files[NAME][2])
    files[NAME][3] = json.dumps(spec | {"fields": [*spec["fields"], change]})
    return build(files=files)


def ask(runtime: Runtime, catalogue: Catalogue) -> list[Any]:
    """Ask as a newer program does at its start; returns what is still missing afterwards."""
    store = runtime.store
    due = schemas.pending(store.log, store.topics, catalogue, None)
    wanted = schemas.requests(store.topics, "albion", store.genesis.log_id, due, given=False)
    store.commands().append([*wanted], runtime.clock.now())
    runtime.drive()
    return schemas.pending(store.log, store.topics, catalogue, None)


def test_an_older_owner_registers_what_a_newer_program_ships(tmp_path: Path) -> None:
    runtime = program(tmp_path / "data", "log")
    runtime.drive()
    catalogue = newer({"name": "more", "type": "string", "default": ""})
    assert len(schemas.pending(runtime.store.log, runtime.store.topics, catalogue, None)) == 1
    assert ask(runtime, catalogue) == []
    store = runtime.store
    state = schemas.load(store.log, store.topics, catalogue)
    given = state.subjects[f"usance.trade.events-{NAME}"]
    assert list(given) == [1, 2, 3]
    # The older program reads an id that it had never heard of, having asked the stream.
    assert given[3] not in store.registry.ids()
    known = store.registry.find(given[3])
    assert known is not None and known.version == 3
    schemas.demand_ids(store.log, store.topics, catalogue, state)
    runtime.close()


def test_an_older_owner_refuses_a_version_that_breaks_history(tmp_path: Path) -> None:
    runtime = program(tmp_path / "data", "log")
    runtime.drive()
    catalogue = newer({"name": "more", "type": "string"})
    store = runtime.store
    state = schemas.load(store.log, store.topics, default())
    asked = RegisterSchema(
        subject=f"usance.trade.events-{NAME}",
        text=catalogue.named(NAME).versions[3],
        version=3,
    )
    key = schemas.key_for(store.topics, "albion")
    store.commands().append([Outgoing(key, asked, derived("x", 1), "test")], runtime.clock.now())
    runtime.drive()
    tp = store.topics.at("system", "outcomes", 0)
    said = [store.decoder.value(r.value) for r in store.log.scan(tp, store.log.begin(tp))]
    refused = [o for o in said if getattr(o, "answer", "") == "refused"]
    assert [o.code for o in refused] == ["INCOMPATIBLE_SCHEMA"] and refused[0].hint
    assert schemas.load(store.log, store.topics, default()).subjects == state.subjects
    runtime.close()


def test_ids_that_another_program_took_meanwhile_stop_the_start(tmp_path: Path) -> None:
    runtime = program(tmp_path / "data", "log")
    runtime.drive()
    store = runtime.store
    planned = schemas.current(
        store.log, store.topics, newer({"name": "more", "type": "string", "default": ""})
    )
    assert ask(runtime, newer({"name": "other", "type": "long", "default": 0})) == []
    catalogue = newer({"name": "other", "type": "long", "default": 0})
    recorded = schemas.current(store.log, store.topics, catalogue)
    schemas.demand_ids(store.log, store.topics, catalogue, recorded)
    with pytest.raises(UsanceError):
        schemas.demand_ids(store.log, store.topics, catalogue, planned)
    runtime.close()
