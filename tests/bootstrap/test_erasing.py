"""A person's data in a log that seals: in clear nowhere, shown on record, and gone for good when it is erased."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from usance import config
from usance.bootstrap.desk import Desk
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.secrecy import erasing
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.crypto.vault import SubjectErased
from usance.domain.credit.messages import ApplyForCredit, WithdrawApplication
from usance.domain.presentation.messages import PresentDocuments, RaiseDiscrepancy
from usance.domain.terms import Narrative, Parties, Party, PresentedDocument
from usance.engine import logs
from usance.engine.control import Discard
from usance.engine.reactors.reactor import Outgoing
from usance.engine.verify import verify_log
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor, Erased
from usance.kernel.errors import Refused, Unavailable
from usance.kernel.ids import RandomIds, derived
from usance.kernel.words import Words
from usance.testing import trade

MAKER = Actor("amara.okafor", "amara.okafor", "maker")
EXAMINER = Actor("chiara.moretti", "chiara.moretti", "examiner")
COMPLIANCE = Actor("elif.demir", "elif.demir", "compliance")
OFFICER = Actor("farid.haddad", "farid.haddad", "compliance_officer")
AUDITOR = Actor("grace.mwangi", "grace.mwangi", "auditor")
SENIOR = Actor("dev.raghavan", "dev.raghavan", "senior_checker")
CREDIT, PRESENTATION = "albion/credit/LC1", "albion/presentation/P1"


def canary() -> str:
    return "CANARY" + RandomIds().fresh().replace("-", "").upper()


class World:
    """A secure book with one customer whose every private field is a marker of its own."""

    def __init__(self, root: Path, out: io.StringIO, cache: Path) -> None:
        if cache.exists():
            shutil.copytree(cache, root / "cache")
        self.root, self.out = root, out
        self.settings = replace(config.load(environ={}).settings, profile="secure", data=str(root))
        logs.configure(out)
        self.runtime = Runtime(Folder(root), self.settings, SystemClock())
        self.runtime.drop.settle = 0.0
        self.desk = Desk(Folder(root), self.settings, SystemClock(), self.runtime, 0)
        self.canaries: dict[str, str] = {}
        self.events: dict[str, str] = {}

    @property
    def store(self) -> Store:
        return self.runtime.store

    def mark(self, name: str) -> str:
        return self.canaries.setdefault(name, canary())

    def send(self, key: str, command: Any, actor: Actor = MAKER) -> str:
        command_id = derived(key, RandomIds().fresh())
        outcome = self.desk.ask(Outgoing(key, command, command_id, "test", actor=actor))
        return outcome.code or outcome.answer

    def play(self) -> None:
        """Take in, present, find fault, fail, park: everything that a marker can pass through."""
        mark = self.mark
        party = Party(name=mark("name"), address=mark("address"), town=mark("town"), country="GB")
        other = Party(name=mark("beneficiary"), country="SG", account=mark("account"))
        fields = ("goods", "documents", "conditions", "charges", "bank_instructions")
        narrative = Narrative(subject="cust-1", **{f: mark(f) for f in fields})
        application = ApplyForCredit(
            credit="LC1",
            application="APP-1",
            terms=trade.terms(),
            parties=Parties(subject="cust-1", applicant=party, beneficiary=other),
            narrative=narrative,
            facility="F1",
            note=Words(text=mark("note")),
        )
        assert self.send(CREDIT, application) == "accepted"
        documents = [
            PresentedDocument(kind="invoice", reference="INV-1", digest="0" * 64),
            PresentedDocument(kind="draft", drawee=mark("drawee")),
        ]
        present = PresentDocuments(
            presentation="P1", credit="LC1", presenter=mark("presenter"), place="LONDON",
            presentee="ALBNGB2LXXX", currency="USD", amount=1_000, documents=documents,
        )  # fmt: skip
        self.send(PRESENTATION, present)
        raised = RaiseDiscrepancy(article="UCP600-18", explanation=Words(text=mark("discrepancy")))
        self.send(PRESENTATION, raised, EXAMINER)
        self.send("albion/nothing/X", WithdrawApplication(reason=Words(text=mark("refused"))))
        letter = Discard(
            dead_letter_id="none", dead_letter_index=0, reason=Words(text=mark("discard"))
        )
        self.send(CREDIT, letter)
        (self.root / "gateway" / "in" / "20261128T0900Z-bad.fin").write_text("{1:F01" + mark("fin"))
        (self.root / "gateway" / "in" / "20261128T0901Z-bad.json").write_text(mark("json"))
        self.runtime.drive()
        self.send(CREDIT, WithdrawApplication(reason=Words(text=mark("withdrawn"))))
        self.runtime.drive()

    def found(self, *, views: bool) -> dict[str, list[str]]:
        """Return the files in which markers stand; `views` says whether read models count."""
        hits: dict[str, list[str]] = {}
        for file in sorted(self.root.rglob("*")):
            if not file.is_file() or (not views and file.name.startswith("views.sqlite")):
                continue
            data = file.read_bytes()
            names = [name for name, text in self.canaries.items() if text.encode() in data]
            if names:
                hits[str(file.relative_to(self.root))] = names
        return hits

    def event_of(self, kind: str) -> str:
        rows = self.desk.queries.events(OFFICER).rows
        return next(row.event_id for row in rows if row.type == kind)

    def close(self) -> None:
        self.desk.close()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists") / "cache"


@pytest.fixture
def world(tmp_path: Path, compiled: Path) -> Iterator[World]:
    made = World(tmp_path / "data", io.StringIO(), compiled)
    try:
        made.play()
        if not compiled.exists():
            shutil.copytree(tmp_path / "data" / "cache", compiled)
        yield made
    finally:
        made.close()


def test_no_marker_stands_in_clear_in_any_file_log_or_metric(world: World) -> None:
    """Traps 9 and 14: intake, commands, events, outcomes, dead letters, parks, snapshots, WAL, archive."""
    assert len(world.canaries) >= 15
    assert world.found(views=False) == {}
    told = world.out.getvalue() + world.runtime.metrics().decode()
    assert not [name for name, text in world.canaries.items() if text in told]


@pytest.mark.slow
def test_console_and_api_show_no_private_field_that_was_not_asked_for(world: World) -> None:
    queries = world.desk.queries
    event = world.event_of("CreditApplied")
    shown = repr(queries.event(OFFICER, event)) + repr(queries.timeline(OFFICER, CREDIT))
    assert not [name for name, text in world.canaries.items() if text in shown]


def test_a_field_is_shown_only_to_whom_may_see_it_and_after_it_was_recorded(world: World) -> None:
    event = world.event_of("CreditApplied")
    with pytest.raises(Refused, match="is for"):
        erasing.reveal(world.desk, event, "parties.applicant.name", "why", MAKER)
    with pytest.raises(Refused, match="reason"):
        erasing.reveal(world.desk, event, "parties.applicant.name", " ", AUDITOR)
    with pytest.raises(Refused, match="no private field"):
        erasing.reveal(world.desk, event, "terms", "why", AUDITOR)
    look = (world.desk, event, "parties.applicant.name", "a question", AUDITOR)
    key, asked, _ = erasing.asking_to_reveal(*look)
    assert world.desk.preview(key, asked, AUDITOR).events, "a dry run tells, and records nothing"
    name = erasing.reveal(*look)
    assert name == world.canaries["name"]
    past = world.store.history.stream("albion/access/grace.mwangi")
    assert [(p.message.event, p.message.field) for p in past] == [(event, "parties.applicant.name")]
    assert past[0].message.reason.text == "a question"


@pytest.mark.slow
def test_what_cannot_be_recorded_is_not_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = world.event_of("CreditApplied")

    def down(_: Any) -> Any:
        raise Unavailable("the log cannot be written")

    monkeypatch.setattr(world.desk, "ask", down)
    monkeypatch.setattr(type(world.store.decoder), "message", pytest.fail)
    with pytest.raises(Unavailable):
        erasing.reveal(world.desk, event, "parties", "why", AUDITOR)


def test_an_erasure_needs_a_reason_two_other_people_and_no_hold(world: World) -> None:
    desk = world.desk
    assert erasing.request(desk, "cust-1", " ", COMPLIANCE).code == "REASON_REQUIRED"
    assert erasing.request(desk, "cust-1", "letter", MAKER).code == "ROLE_NEEDED"
    erasing.hold(desk, "cust-1", "court", OFFICER)
    assert erasing.request(desk, "cust-1", "letter", COMPLIANCE).code == "LEGAL_HOLD"
    erasing.hold(desk, "cust-1", "over", OFFICER, release="H1")
    assert erasing.request(desk, "cust-1", "letter", COMPLIANCE).answer == "accepted"
    assert erasing.approve(desk, "cust-1", COMPLIANCE).code == "SELF_APPROVAL"
    assert erasing.approve(desk, "cust-1", OFFICER).answer == "accepted"
    with pytest.raises(Refused, match="two people"):
        erasing.execute(desk, "cust-1")
    assert erasing.approve(desk, "cust-1", OFFICER).code == "SELF_APPROVAL"
    assert erasing.approve(desk, "cust-1", SENIOR).answer == "accepted"
    # A hold that comes last is looked for again, where the keys are.
    vault = erasing.demand_vault(world.store)
    name = vault.pseudonym("albion", "cust-1")
    last = erasing.Hold(tenant="albion", subject=name, reason="court", by="x", since=1, id="H9")
    vault.store.hold(last)
    with pytest.raises(Refused, match="court"):
        erasing.execute(desk, "cust-1")
    with pytest.raises(Refused, match="legal hold"):
        vault.store.destroy("albion", name, 1, "c")
    assert not any(r.dead for r in vault.store.records())


def test_an_order_is_lifted_by_its_own_release_alone(world: World) -> None:
    desk, vault = world.desk, erasing.demand_vault(world.store)
    name = vault.pseudonym("albion", "cust-1")

    def held(*, release: str | None = None) -> str:
        found = erasing.hold(desk, "cust-1", "order", OFFICER, release=release)
        return found.code or found.answer

    def stand() -> tuple[list[str], list[str]]:
        key = erasing.subject_key(world.store, "cust-1")
        return list(erasing.holds_of(world.store, key)), [
            h.id for h in vault.store.holds("albion", name)
        ]

    assert held() == held() == "accepted"
    assert stand() == (["H1", "H2"], ["H1", "H2"])
    assert held(release="H1") == "accepted"
    assert stand() == (["H2"], ["H2"]), "the second court's order stands on"
    assert erasing.request(desk, "cust-1", "letter", COMPLIANCE).code == "LEGAL_HOLD"
    assert held(release="H1") == "accepted", "it is gone already"
    assert held(release="H7") == "NO_SUCH_HOLD"
    vault.store.release("albion", name, "H2")  # whoever writes the store alone lifts nothing
    with pytest.raises(Refused, match="legal hold H2"):
        erasing._demand_free(world.store, vault, "albion", name)
    assert held(release="H2") == "accepted" and stand() == ([], [])
    assert held() == "accepted" and stand() == (["H3"], ["H3"]), "no id is given twice"


def test_an_obligation_stands_against_an_erasure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "SETTLED", frozenset())  # as if the credit were still open
    outcome = erasing.request(world.desk, "cust-1", "letter", COMPLIANCE)
    assert outcome.code == "RETENTION_OBLIGES"
    assert "LC1" in outcome.message


def erased(world: World) -> erasing.Certificate:
    desk = world.desk
    erasing.request(desk, "cust-1", "letter of 3 May", COMPLIANCE)
    erasing.approve(desk, "cust-1", OFFICER)
    erasing.approve(desk, "cust-1", SENIOR)
    return erasing.execute(desk, "cust-1")


def test_after_an_erasure_nobody_can_read_it_and_everything_still_verifies(world: World) -> None:
    before = [r for r in erasing.demand_vault(world.store).store.records() if not r.dead]
    made = erased(world)
    store = world.store
    vault = erasing.demand_vault(store)
    assert made.keys and made.barriers and made.acknowledged and made.horizon > "2026"
    assert len(made.barriers) == len(store.topics.places())
    dead = {r.key_id.hex() for r in vault.store.records() if r.dead}
    assert dead == set(made.keys)
    # The bytes of every destroyed key are gone from store, WAL and memory.
    blobs = [r.blob for r in before if r.key_id.hex() in dead]
    for file in world.root.rglob("keys.sqlite*"):
        data = file.read_bytes()
        assert blobs and not [b for b in blobs if b in data], file
    assert not [k for k in vault.open_keys if k.hex() in dead]
    # Chains verify, replay goes on, and says so where the blocks were.
    assert all(r.whole for r in verify_log(store.log, store.genesis.log_id, store.decoder))
    applied = store.history.stream(CREDIT)[0].message
    assert isinstance(applied.parties, Erased)
    assert applied.parties.certificate == made.certificate
    # No file holds a marker, read models included.
    assert world.found(views=True) == {}
    past = store.history.stream(erasing.subject_key(store, "cust-1"))
    assert past[-1].message.certificate == made.certificate
    assert "cust-1" not in repr([p.message for p in past])
    # And the book goes on.
    row = world.desk.queries.credit(OFFICER, CREDIT)
    assert "[erased]" in repr(row)
    with pytest.raises(SubjectErased):
        world.send(CREDIT, WithdrawApplication(reason=Words(text="again")))


@pytest.mark.slow
def test_an_erasure_that_was_broken_off_is_done_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> None:
        raise Unavailable("the machine went down")

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "blank", broken)
        with pytest.raises(Unavailable):
            erased(world)
    state = world.store.history.fold(
        world.store.deciders["subject"], erasing.subject_key(world.store, "cust-1")
    )
    assert state.phase == "erased"
    erasing.blank(world.desk)
    assert world.found(views=True) == {}


@pytest.mark.slow
def test_a_restart_replays_with_erased_blocks(world: World) -> None:
    erased(world)
    world.close()
    again = Runtime(Folder(world.root), world.settings, SystemClock())
    try:
        assert again.drive() >= 0
        assert not again.owner.paused
        applied = again.store.history.stream(CREDIT)[0].message
        assert isinstance(applied.parties, Erased)
    finally:
        again.close()


def test_a_log_in_clear_says_that_it_cannot_forget(tmp_path: Path) -> None:
    settings: Settings = replace(config.load(environ={}).settings, data=str(tmp_path))
    runtime = Runtime(Folder(tmp_path), settings, SystemClock())
    desk = Desk(Folder(tmp_path), settings, SystemClock(), runtime, 0)
    try:
        with pytest.raises(Refused, match="in clear"):
            erasing.request(desk, "cust-1", "letter", COMPLIANCE)
    finally:
        desk.close()
