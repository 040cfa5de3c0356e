"""Retention and reveals by console and API: two people, a record before each look, no scripts, nothing cached."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from world import CHECKER, COMPLIANCE, ENGINEER, MAKER, until

from usance.bootstrap.retention_watch import QUIET_MS, RetentionWatch
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.served import ServedDesk
from usance.bootstrap.store import Folder
from usance.config import GatewaySettings, Settings
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.domain.terms import Narrative
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import MS_PER_DAY, BookClock, SystemClock, parse_instant
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.testing.trade import MONDAY, parties, terms
from usance.web.app import create_app, make_server

PARTY = "party-1"
OFFICER, SENIOR, AUDITOR = "farid.haddad", "dev.raghavan", "grace.mwangi"
AT = f"/retention/{PARTY}"


class Book:
    """A sealed book of one customer, whose one application came to nothing; years have gone by since."""

    def __init__(self, root: Path) -> None:
        settings = Settings(
            profile="secure", data=str(root), gateway=GatewaySettings(loopback=True)
        )
        self.clock = BookClock(MONDAY)
        self.program = Runtime(Folder(root), settings, self.clock)
        self.program.drop.settle = 0.0
        self.said = 0

    def say(self, key: str, command: Any, person: str = MAKER) -> None:
        self.said += 1
        command_id = derived("web-retention", self.said)
        actor = self.program.directory.actor(person)
        outcome = self.program.ask(Outgoing(key, command, command_id, "", command_id, actor))
        self.program.drive()
        assert outcome.answer == "accepted", outcome.message

    def fill(self) -> None:
        self.program.drive()
        facility = SetFacility(
            facility="F1", customer=PARTY, currency="USD", limit=500_000_00, expiry="2027-12-31",
            margin_account="GB00ALBN0001",
        )  # fmt: skip
        self.say("albion/facility/F1", facility, CHECKER)
        applied = cm.ApplyForCredit(
            credit="LC1",
            application="APP-LC1",
            terms=terms(),
            parties=parties(),
            narrative=Narrative(subject=PARTY, goods="TEAK FOR LC1"),
            facility="F1",
            note=Words(text="words on LC1"),
        )
        self.say("albion/credit/LC1", applied)
        self.say(
            "albion/credit/LC1", cm.WithdrawApplication(reason=Words(text="changed their mind"))
        )

    def until_day(self, day: str) -> None:
        self.program.run_until(parse_instant(f"{day}T12:00:00.000Z"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("web-retention") / "data"
    book = Book(root)
    book.fill()
    book.until_day("2034-01-10")
    book.program.close()
    return root


@pytest.fixture
def book(filled: Path, tmp_path: Path) -> Iterator[Book]:
    shutil.copytree(filled, tmp_path / "data")
    made = Book(tmp_path / "data")
    made.until_day("2034-01-10")
    made.clock.run()
    made.program.start()
    yield made
    made.program.close()


@pytest.fixture
def at(book: Book) -> Iterator[str]:
    server = make_server(create_app(book.program), port=0)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def web(at: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=at, timeout=60, headers={"usance-as": COMPLIANCE}) as client:
        yield client


def send(web: httpx.Client, act: str, who: str, **said: Any) -> httpx.Response:
    return web.post(f"{AT}/{act}", json=said, headers={"usance-as": who})


def state(web: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"{AT}.json").json()["kept"]
    return found


def test_what_is_over_goes_from_proposal_by_two_people_to_its_certificate(web, book):
    rows = web.get("/retention.json").json()["rows"]
    assert [(r["subject"], r["state"]) for r in rows] == [(PARTY, "due")]
    assert "relationship" in web.get("/retention").text
    assert send(web, "propose", COMPLIANCE, reason="review").json()["outcome"] == "accepted"
    own = send(web, "approve", COMPLIANCE)
    assert (own.status_code, own.json()["code"]) == (422, "SELF_APPROVAL")
    assert send(web, "approve", OFFICER).status_code == 200
    assert send(web, "approve", SENIOR).status_code == 200
    assert state(web)["state"] == "approved"
    early = send(web, "destroy", OFFICER)
    assert early.status_code == 422 and state(web)["state"] == "approved", "it cools off first"
    book.clock.advance_to(book.clock.now() + 8 * MS_PER_DAY)
    hold = send(web, "hold", OFFICER, reason="court order of 3 May")
    assert hold.status_code == 200
    assert send(web, "destroy", OFFICER).status_code == 422
    holds = web.get(f"{AT}.json").json()["holds"]
    assert holds[0]["reason"] == "court order of 3 May"
    assert send(web, "release", OFFICER, reason="lifted", hold=holds[0]["id"]).status_code == 200
    made = send(web, "destroy", OFFICER)
    assert made.status_code == 200, made.text
    assert made.headers["cache-control"] == "no-store"
    assert web.get(f"{AT}/certificate").json()["certificate"] == made.json()["certificate"]
    assert state(web)["state"] == "destroyed"


def test_looks_are_recorded_and_not_for_everybody(web):
    for path in ("/retention.json", f"{AT}.json", f"{AT}/letter", "/retention"):
        no = web.get(path, headers={"usance-as": MAKER})
        assert (no.status_code, no.json()["code"]) == (422, "ROLE_NEEDED"), path
    assert send(web, "propose", MAKER, reason="x").json()["code"] == "ROLE_NEEDED"
    assert web.get(f"{AT}.json").status_code == 200
    assert (
        web.get(f"{AT}.json", headers={"usance-as": f"{SENIOR}:senior_checker"}).status_code == 200
    )
    found: list[Any] = []

    def told() -> bool:
        rows = web.get("/access.json", headers={"usance-as": OFFICER}).json()["rows"]
        found[:] = [(r["action"], r["resource"], r["kind"]) for r in rows]
        return ("retention.view", PARTY, "look") in found

    assert web.get("/doctor.json", headers={"usance-as": MAKER}).json()["code"] == "ROLE_NEEDED"
    event = sealed_event(web)
    curious = {"field": "narrative", "reason": "curious"}
    web.post(f"/events/{event}/reveal", json=curious, headers={"usance-as": MAKER})
    until(told)
    turned_away = {
        *(("retention.list", ""), ("retention.view", PARTY), ("retention.letter", PARTY)),
        *(("retention.propose", PARTY), ("doctor", ""), ("reveal", event)),
    }
    until(lambda: told() and turned_away <= {(a, r) for a, r, kind in found if kind == "denied"})


def test_a_hold_has_a_reason_and_a_release_names_one_that_stands(web):
    assert send(web, "hold", OFFICER, reason=" ").json()["code"] == "REASON_REQUIRED"
    assert send(web, "hold", OFFICER, reason="court order 7").status_code == 200
    unnamed = send(web, "release", OFFICER, reason="over")
    assert (unnamed.status_code, unnamed.json()["code"]) == (422, "NO_SUCH_HOLD")
    assert send(web, "release", OFFICER, hold="H1").json()["code"] == "REASON_REQUIRED"
    assert send(web, "release", OFFICER, hold="H1", reason="over").status_code == 200
    assert send(web, "release", OFFICER, hold="H2", reason="over").json()["code"] == "NO_SUCH_HOLD"


def test_the_forms_work_without_scripts(at, browser: Browser):
    context = browser.new_context(java_script_enabled=False)
    try:
        context.add_cookies([{"name": "usance_as", "value": f"{COMPLIANCE}:compliance", "url": at}])
        page = context.new_page()
        page.goto(f"{at}{AT}")
        page.get_by_text("Propose to destroy what is over").first.click()
        form = page.locator(f"form[action='{AT}/propose']")
        form.locator("textarea").fill("year-end review")
        form.locator("button").click()
        page.wait_for_url(f"{at}{AT}")
        assert "proposed" in page.inner_text(".head")
        assert page.locator(f"form[action='{AT}/withdraw']").count() == 1
    finally:
        context.close()


# -- proposals by themselves


def watch_of(book: Book) -> RetentionWatch:
    return RetentionWatch(ServedDesk(book.program), SystemClock())


def test_what_fell_due_is_proposed_by_the_program_once_and_not_again_when_taken_back(web, book):
    watch = watch_of(book)
    assert watch.step() == 0 and watch.step() == 1, "it looks, then proposes"
    assert state(web)["state"] == "proposed" and state(web)["approvals"] == 0
    assert web.get(f"{AT}.json").json()["asked_by"] == "engine"
    assert "The program" in web.get(AT).text
    assert watch.due(book.clock.now()) == []
    assert send(web, "withdraw", OFFICER, reason="not yet").status_code == 200
    now = book.clock.now()
    assert watch.due(now) == [] and watch.due(now + QUIET_MS + MS_PER_DAY) != []
    assert watch.step() == 0, "the next look is tomorrow's"
    assert send(web, "hold", OFFICER, reason="court order").status_code == 200
    assert watch.due(now + QUIET_MS + MS_PER_DAY) == [], "a hold stands against it"


def test_two_people_still_approve_what_the_program_proposed(web, book):
    watch = watch_of(book)
    watch.step()
    assert watch.step() == 1
    assert send(web, "approve", OFFICER).status_code == 200
    assert state(web)["state"] == "proposed"
    again = send(web, "approve", OFFICER)
    assert state(web)["state"] == "proposed", again.text
    assert send(web, "approve", SENIOR).status_code == 200
    assert state(web)["state"] == "approved"


# -- reveals


def sealed_event(web: httpx.Client) -> str:
    """Return the id of the application's event."""
    path = "/events.json?stream=albion/credit/LC1"
    rows = web.get(path, headers={"usance-as": AUDITOR}).json()["rows"]
    return str(min(rows, key=lambda r: r["revision"])["event_id"])


def test_a_sealed_field_is_shown_once_it_is_on_record_and_never_cached(web):
    event = sealed_event(web)
    page = web.get(f"/events/{event}", headers={"usance-as": AUDITOR}).text
    assert f'action="/events/{event}/reveal"' in page and "[sealed]" in page
    assert "/reveal" not in web.get(f"/events/{event}", headers={"usance-as": ENGINEER}).text
    said = {"field": "narrative", "part": "goods", "reason": "question of the auditor"}
    shown = web.post(f"/events/{event}/reveal", data=said, headers={"usance-as": AUDITOR})
    assert shown.status_code == 200 and "TEAK FOR LC1" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    asked = {"field": "narrative", "reason": "by program"}
    told = web.post(f"/events/{event}/reveal", json=asked, headers={"usance-as": AUDITOR})
    assert told.json()["value"]["goods"] == "TEAK FOR LC1"
    assert told.headers["cache-control"] == "no-store"

    def recorded() -> bool:
        rows = web.get("/access.json?kind=reveal", headers={"usance-as": OFFICER}).json()["rows"]
        return len([r for r in rows if r["person"] == AUDITOR]) == 2

    until(recorded)


def test_without_reason_role_or_field_nothing_is_shown(web):
    event = sealed_event(web)
    at = f"/events/{event}/reveal"
    for who, said, code in (
        (AUDITOR, {"field": "narrative", "reason": " "}, "REASON_REQUIRED"),
        (MAKER, {"field": "narrative", "reason": "curious"}, "ROLE_NEEDED"),
        (AUDITOR, {"field": "nothing", "reason": "why"}, "NO_SUCH_FIELD"),
        (AUDITOR, {"field": "narrative.__class__", "reason": "why"}, "NO_SUCH_FIELD"),
        (AUDITOR, {"field": "narrative.goods.upper", "reason": "why"}, "NO_SUCH_FIELD"),
    ):
        no = web.post(at, json=said, headers={"usance-as": who})
        assert (no.status_code, no.json()["code"]) == (422, code)
        assert "TEAK" not in no.text


def test_what_cannot_be_recorded_is_not_shown(web, book, monkeypatch):
    event = sealed_event(web)
    monkeypatch.setattr("usance.bootstrap.desk.ANSWER_TIMEOUT_S", 0.0)
    said = {"field": "narrative", "reason": "question"}
    no = web.post(f"/events/{event}/reveal", json=said, headers={"usance-as": AUDITOR})
    assert no.status_code == 503 and "TEAK" not in no.text
