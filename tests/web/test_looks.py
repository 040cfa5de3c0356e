"""Looks of people through console and API: recorded before they are answered, or not answered."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from world import COMPLIANCE, MAKER, World, until

from usance.engine.owner.accesses import AccessDenied, AccessRecorded
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Unavailable
from usance.web import looks
from usance.web.app import create_app
from usance.web.pages import PAGES, Shown

OFFICER = "farid.haddad"


@pytest.fixture
def officer(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"usance-as": OFFICER}, timeout=60) as client:
        yield client


def recorded(world: World, person: str) -> list[Any]:
    try:
        return [e.message for e in world.program.store.history.stream(f"albion/access/{person}")]
    except NotFound:
        return []


def as_(person: str) -> dict[str, str]:
    return {"usance-as": person}


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/cases", "case.list"),
        ("/cases.json", "case.list"),
        ("/access", "access.list"),
        ("/access.json?credit=TF26LC000105", "access.list"),
        ("/audit", "audit.view"),
    ],
)
def test_a_page_and_its_twin_are_in_the_log_by_the_time_they_are_shown(
    officer: httpx.Client, world: World, path: str, action: str
) -> None:
    before = len(recorded(world, OFFICER))
    answer = officer.get(path, headers=as_(OFFICER))
    assert answer.status_code == 200, answer.text
    event = recorded(world, OFFICER)[before]
    assert isinstance(event, AccessRecorded)
    assert (event.action, event.role) == (action, "compliance_officer")
    assert event.source == ("api" if ".json" in path else "console")


def test_a_case_says_which_credit_it_is_about(officer: httpx.Client, world: World) -> None:
    rows = officer.get("/cases.json").json()["rows"]
    assert rows
    answer = officer.get(f"/cases/{rows[0]['reference']}")
    assert answer.status_code == 200
    event = recorded(world, OFFICER)[-1]
    assert (event.action, event.credit) == ("case.view", "TF26LC000105")


def test_a_page_that_shows_a_case_among_other_things_is_recorded_as_well(
    officer: httpx.Client, world: World
) -> None:
    case = officer.get("/cases.json").json()["rows"][0]
    before = len(recorded(world, OFFICER))
    assert officer.get("/events.json", params={"stream": case["key"]}).json()["rows"]
    assert recorded(world, OFFICER)[before].action == "compliance.view"
    assert officer.get("/schemas.json").json()
    assert len(recorded(world, OFFICER)) == before + 1, "the trade book is no access of its own"


@pytest.mark.parametrize("path", ["/cases", "/cases.json", "/access.json", "/access"])
def test_without_its_record_nothing_is_shown(
    officer: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def down(*_: Any) -> None:
        raise Unavailable("the log cannot be written")

    monkeypatch.setattr(world.program.gateway, "submit", down)
    answer = officer.get(path)
    assert answer.status_code == 503, answer.text
    assert "TF26LC000105" not in answer.text and "rows" not in answer.text


def test_who_may_not_look_is_turned_away_as_ever_and_that_is_recorded(
    officer: httpx.Client, world: World
) -> None:
    assert officer.get("/cases.json", headers=as_(MAKER)).status_code == 404
    event = recorded(world, MAKER)[-1]
    assert isinstance(event, AccessDenied)
    assert (event.act, event.code, event.role) == ("case.list", "ROLE_NEEDED", "maker")
    assert officer.get("/access.json", headers=as_(MAKER)).status_code == 422
    assert recorded(world, MAKER)[-1].act == "access.list"


def test_a_page_that_refreshes_itself_is_the_same_look(officer: httpx.Client, world: World) -> None:
    shown = officer.get("/cases?state=open")
    token = shown.headers["usance-look"]
    assert f'data-look="{token}"' in shown.text, "the page knows its look"
    before = len(recorded(world, OFFICER))
    for _ in range(3):
        again = officer.get("/cases?state=open", headers={"usance-live": token})
        assert again.status_code == 200 and again.headers["usance-look"] == token
    assert len(recorded(world, OFFICER)) == before


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/cases?state=open", {"usance-live": "1"}),
        ("/cases?state=open", {"usance-live": "9999999999999.00"}),
        ("/cases?state=proposed", {}),
        ("/cases", {}),
        ("/cases?state=open&limit=500", {}),
        ("/cases?state=open&q=other", {}),
        ("/cases.json?state=open", {}),
        ("/access?state=open", {}),
        ("/cases?state=open", {"usance-as": COMPLIANCE}),
    ],
)
def test_a_token_is_of_one_look_alone(
    officer: httpx.Client, world: World, path: str, more: dict[str, str]
) -> None:
    token = officer.get("/cases?state=open").headers["usance-look"]
    person = more.get("usance-as", OFFICER)
    before = len(recorded(world, person))
    answer = officer.get(path, headers={"usance-live": token, **more})
    assert answer.status_code == 200
    assert len(recorded(world, person)) == before + 1, "a look of its own"


def test_a_token_is_over_after_its_window(
    officer: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = officer.get("/cases").headers["usance-look"]
    monkeypatch.setattr(looks, "LIVE_MS", 0)
    before = len(recorded(world, OFFICER))
    officer.get("/cases", headers={"usance-live": token})
    assert len(recorded(world, OFFICER)) == before + 1


def test_paging_is_recorded_as_what_it_is_and_nothing_else_of_a_query(
    officer: httpx.Client, world: World
) -> None:
    officer.get("/cases", params={"state": "open", "limit": "3", "note": "John Smith"})
    assert recorded(world, OFFICER)[-1].resource == "state=open, limit=3"
    visit: Any = SimpleNamespace(query={"cursor": "abc"})
    assert looks._part(visit) == ["page=ba7816bf8f01"]


def test_what_stands_beside_the_answer_of_a_page_is_looked_at_too() -> None:
    class Thing:
        def __repr__(self) -> str:
            return "albion/case/C-1"

    page = next(p for p in PAGES if p.path == "/work")
    viewer = Actor(OFFICER, "", "compliance_officer")
    visit: Any = SimpleNamespace(query={}, ref="", viewer=viewer)
    assert looks.look_of(page, visit, Shown([])) is None
    for shown in (Shown([], {"at": ["albion/screening/S-1"]}), Shown([], {"acts": [Thing()]})):
        found = looks.look_of(page, visit, shown)
        assert found is not None and found.action == "compliance.view"
    assert looks.look_of(page, visit, Shown([]), "albion/case/C-2") is not None


def test_a_preview_and_an_outcome_of_a_case_are_looks(officer: httpx.Client, world: World) -> None:
    case = officer.get("/cases.json").json()["rows"][0]
    said = {
        "case_id": case["reference"],
        "disposition": "clear",
        "evidence_hash": "",
        "reason": {"subject": "", "text": "another person"},
    }
    path = f"/commands/ProposeDisposition?key={case['key']}"

    def looks_of(answer: httpx.Response) -> list[str]:
        assert answer.status_code in (200, 422), answer.text
        return [e.action for e in recorded(world, OFFICER)[before:]]

    before = len(recorded(world, OFFICER))
    assert looks_of(officer.post(f"{path}&dry_run=1", json=said)) == ["command.preview"]
    sent = officer.post(path, json=said)
    before = len(recorded(world, OFFICER))
    assert looks_of(officer.get(f"/outcomes/{sent.json()['command_id']}")) == ["outcome.view"]


def test_every_address_is_declared(world: World) -> None:
    """A new one is a page, which asks `Looks`, or says in its table why it shows nothing of compliance."""
    known = looks.HARMLESS.keys() | looks.RECORDED.keys()
    found = set()
    for route in create_app(world.program).routes:
        made = getattr(getattr(route, "endpoint", None), "__qualname__", "")
        if not made.startswith(("Site._page.", "Site._twin.")):
            found.add(str(getattr(route, "path", route)))
    assert found - known == set(), "declare it in web/looks.py"
    assert known - found == set(), "this is no address any more"
    assert not looks.HARMLESS.keys() & looks.RECORDED.keys()


def test_an_officer_asks_who_looked_and_who_was_denied(officer: httpx.Client, world: World) -> None:
    officer.get("/cases.json", headers=as_(COMPLIANCE))
    officer.get("/cases.json", headers=as_(MAKER))

    def rows(**wanted: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = officer.get("/access.json", params=wanted).json()["rows"]
        return found

    until(lambda: rows(person=COMPLIANCE, action="case.list"))
    until(lambda: rows(person=MAKER, kind="denied"))
    assert {r["kind"] for r in rows(person=MAKER, kind="denied")} == {"denied"}
    one = rows(person=MAKER, kind="denied")[0]
    told = officer.get(f"/access/{one['event_id']}.json").json()
    assert told["row"]["code"] == "ROLE_NEEDED" and told["place"].startswith("access.p0#")
    page = officer.get(f"/access/{one['event_id']}").text
    assert "usance audit prove" in page and "ROLE_NEEDED" in page


def test_broken_glass_stands_on_every_page_until_it_is_closed_and_acts_go_behind_it(
    officer: httpx.Client, world: World
) -> None:
    engineer, checker = {"usance-as": "henrik.solberg"}, {"usance-as": "bruno.lindqvist"}
    behind = {"usance-as": "henrik.solberg:break_glass"}

    def say(command: str, body: dict[str, Any], who: dict[str, str]) -> httpx.Response:
        return officer.post(f"/commands/{command}", json=body, headers=who)

    facility = {"facility": "FGLASS", "customer": "party-1", "currency": "USD", "limit": 1_000,
                "expiry": "2027-12-31", "margin_account": "M"}  # fmt: skip
    assert say("SetFacility", facility, behind).json()["code"] == "GLASS_NOT_BROKEN"
    assert say("UseGlass", {}, behind).status_code == 404, "only the program says it"
    broken = {"person": "henrik.solberg", "acts": ["SetFacility"], "minutes": 60,
              "incident": "INC-9", "reason": "nobody of credit is in"}  # fmt: skip
    answer = say("BreakGlass", broken, engineer)
    assert answer.status_code == 200, answer.text
    until(
        lambda: "Broken glass</b>You may take SetFacility" in officer.get("/", headers=behind).text
    )
    assert "Henrik Solberg may take SetFacility" in officer.get("/", headers=checker).text
    done = say("SetFacility", facility, behind)
    assert done.status_code == 200 and done.json()["key"] == "albion/facility/FGLASS", done.text
    assert say("CloseGlass", {"person": "henrik.solberg"}, engineer).status_code == 200
    until(lambda: "may take SetFacility" not in officer.get("/", headers=checker).text)
    page = officer.get("/glass").text
    assert "SetFacility on albion/facility/FGLASS" in page and "Review no. 1" in page
    reviewed = {"person": "henrik.solberg", "number": 1, "justified": True, "reason": "read it"}
    assert say("ReviewGlass", reviewed, as_("grace.mwangi")).status_code == 200
